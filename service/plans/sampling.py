"""A part of a table's rows in a scratch database, in a table that is made as the model says: something to try an index on.

A bounded number of rows is read, from blocks spread over the table, in a bounded time. A tenth of them is held back, to be inserted
when it is measured what an index costs. What refers to other tables stays behind.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Computed, ForeignKeyConstraint, MetaData, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateIndex

from service.db import Model
from service.db.catalogue import QUOTE
from service.db.model import table_of

ROWS = 50_000
READ_SECONDS, WRITE_SECONDS = 20, 60
HELD, HELD_MOST = 10, 5_000
"""Every tenth row is held back, up to so many."""
STAGED = "staged_"
"""How the name of the table begins that holds all rows of a sample, as they were copied."""
SEED, LONGEST = 7, 63
KNOWN = text("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:table)")
COLUMNS = text("SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped")
EXTENSIONS = text("SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY extname")


@dataclass(frozen=True)
class Sample:
    """A table in a scratch database.

    Attributes:
        rows: that it holds, without those that are held back.
        held: how many are.
        known: the rows of the real table, as PostgreSQL knows them.
        columns: those that are written, in SQL.
        without: indexes of the model that the scratch database can't have.
    """

    model: type[Model]
    rows: int
    held: int
    known: int
    columns: str
    without: tuple[str, ...]

    @property
    def table(self) -> str:
        """The table, in SQL."""
        return QUOTE.format_table(table_of(self.model))

    @property
    def staged(self) -> str:
        """The table of all rows of the sample, in SQL."""
        return _staged(table_of(self.model))

    @property
    def inserting(self) -> str:
        """The statement that inserts what is held back."""
        return self._inserted(f"shelfmark_row % {HELD} = 0 ORDER BY shelfmark_row LIMIT {HELD_MOST}")

    @property
    def filling(self) -> str:
        """The statement that inserts all other rows."""
        return self._inserted(f"shelfmark_row % {HELD} <> 0")

    def _inserted(self, which: str) -> str:
        values = f"SELECT {self.columns} FROM {self.staged} WHERE {which}"
        return f"INSERT INTO {self.table} ({self.columns}) OVERRIDING SYSTEM VALUE {values}"


async def sampled(source: AsyncConnection, scratch: AsyncConnection, model: type[Model], most: int = ROWS) -> Sample:
    """Copy a part of a table.

    Args:
        source: where the table is.
        scratch: a connection under autocommit to a database where nothing is yet but what an earlier call left.
        model: the table's.
        most: rows that are copied.

    Raises:
        DBAPIError: the source can't be read in time, or its table is missing; or the scratch database refuses the table.
    """
    table = table_of(model)
    place = QUOTE.format_table(table)
    there = set((await source.execute(COLUMNS, {"table": place})).scalars())
    names = [column.name for column in table.columns if column.name in there and not isinstance(column.server_default, Computed)]
    columns = ", ".join(map(QUOTE.quote, names))
    known = int(await source.scalar(KNOWN, {"table": place}) or 0)
    await _made(scratch, table, list((await source.execute(EXTENSIONS)).scalars()))
    query = f"SELECT {columns} FROM {place}{_tablesample(known, most)} LIMIT {most}"
    count = await _copied(source, scratch, query, f"{STAGED}{table.name}"[:LONGEST], names)
    held = min(count // HELD, HELD_MOST)
    sample = Sample(model, count - count // HELD, held, max(known, count), columns, ())
    await scratch.exec_driver_sql(sample.filling)
    without = await _indexed(scratch, table)
    await scratch.exec_driver_sql(f"VACUUM (ANALYZE) {place}")
    return Sample(model, sample.rows, held, sample.known, columns, without)


def _tablesample(known: int, most: int) -> str:
    """Blocks all over the table, a few less than it takes, so that none are cut off; all of it where it is small, or unknown."""
    percent = 90 * most / max(known, 1)
    return f" TABLESAMPLE SYSTEM ({percent:.6f}) REPEATABLE ({SEED})" if known > most else ""


async def _made(scratch: AsyncConnection, table: Table, extensions: Sequence[str]) -> None:
    """The table and its staging, without indexes; each extension that can be had."""
    for extension in extensions:
        try:
            await scratch.exec_driver_sql(f"CREATE EXTENSION IF NOT EXISTS {QUOTE.quote(extension)}")
        except DBAPIError:
            continue  # an index that needs it will be left out, and named
    copy = table.to_metadata(MetaData())
    copy.constraints = {one for one in copy.constraints if not isinstance(one, ForeignKeyConstraint)}
    for column in copy.columns:
        column.foreign_keys = set()
    copy.indexes = set()
    if copy.schema:
        await scratch.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {QUOTE.quote(copy.schema)}")
    await scratch.run_sync(copy.create)
    await scratch.exec_driver_sql(f"CREATE UNLOGGED TABLE {_staged(table)} (LIKE {QUOTE.format_table(table)})")
    await scratch.exec_driver_sql(f"ALTER TABLE {_staged(table)} ADD COLUMN shelfmark_row bigint GENERATED ALWAYS AS IDENTITY")


def _staged(table: Table) -> str:
    return QUOTE.quote(f"{STAGED}{table.name}"[:LONGEST])


async def _copied(source: AsyncConnection, scratch: AsyncConnection, query: str, into: str, names: Sequence[str]) -> int:
    """Copy the rows of a query into a table; how many there were."""
    reading: Any = (await source.get_raw_connection()).driver_connection
    writing: Any = (await scratch.get_raw_connection()).driver_connection
    with tempfile.TemporaryFile() as file:
        await reading.copy_from_query(query, output=file, format="binary", timeout=READ_SECONDS)
        file.seek(0)
        done = await writing.copy_to_table(into, source=file, columns=names, format="binary", timeout=WRITE_SECONDS)
    return int(str(done).split()[-1])


async def _indexed(scratch: AsyncConnection, table: Table) -> tuple[str, ...]:
    """Build the model's indexes; the names of those that can't be had there."""
    lacking = []
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        try:
            await scratch.execute(CreateIndex(index))
        except DBAPIError:
            lacking.append(str(index.name))
    return tuple(lacking)
