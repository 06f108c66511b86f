"""The same statement many times on one connection, as the driver prepares it, and what its first and its last run touched.

From the sixth run on PostgreSQL may keep a plan that doesn't know the values, and it stays with that one: a statement that was
quick five times may be slow for ever after.

Buffers are counted by PostgreSQL's own statistics of the open transaction, before and after: what is run is the statement itself,
with values bound as a request's are, and not an EXPLAIN of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RUNS = 12
PATIENCE_SECONDS = 600.0
"""What the driver grants the runs between; the database's own limit holds for each of them."""
RELATIONS = """
SELECT c.oid FROM pg_class c WHERE c.oid = $1::regclass
UNION ALL SELECT i.indexrelid FROM pg_index i WHERE i.indrelid = $1::regclass
"""
TOUCHED = "SELECT sum(pg_stat_get_xact_blocks_fetched(o))::bigint FROM unnest($1::oid[]) AS o"


@dataclass(frozen=True, slots=True)
class Ran:
    """What the runs of a statement touched.

    Attributes:
        rows: of the first run.
        first: buffers of the first run.
        last: of the last.
    """

    rows: Sequence[Any]
    first: int
    last: int


async def relations(driver: Any, table: str) -> list[int]:
    """A table and its indexes, by number; without what its long values are kept in.

    Args:
        driver: asyncpg's connection.
        table: the table's name, quoted where it must be.
    """
    return [row[0] for row in await driver.fetch(RELATIONS, table)]


async def repeated(driver: Any, prepared: Any, values: Sequence[Any], counted: Sequence[int]) -> Ran:
    """Run a prepared statement many times, and measure the first run and the last.

    Args:
        driver: asyncpg's connection; none else uses it meanwhile.
        prepared: a statement of it that only reads.
        values: for its parameters.
        counted: the relations whose buffers count.
    """
    async with driver.transaction(readonly=True):
        counter = await driver.prepare(TOUCHED)
        before = await counter.fetchval(counted)
        rows = await prepared.fetch(*values)
        first = await counter.fetchval(counted)
        await prepared.executemany([tuple(values)] * (RUNS - 2), timeout=PATIENCE_SECONDS)
        between = await counter.fetchval(counted)
        await prepared.fetch(*values)
        last = await counter.fetchval(counted)
    return Ran(rows, first - before, last - between)
