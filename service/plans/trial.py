"""A suggested index, tried on a sample: built, its questions proven, its size and its price at each insert measured.

The price is what one more index costs an INSERT that all other indexes of the table take part in: rows in a second, and bytes of
WAL, which are the same on any machine.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.schema import CreateIndex

from service.contract.path import Path, Term
from service.contract.search import SearchPath
from service.contract.served import served
from service.db import Surface, surface
from service.db.catalogue import QUOTE
from service.db.model import table_of
from service.db.surface import DIALECT, SEARCHES
from service.plans.advisor import Suggestion
from service.plans.candidates import Index
from service.plans.drawing import drawn
from service.plans.forms import Page
from service.plans.proof import Proof, Prover, twins
from service.plans.sampling import Sample

RUNS = 5
"""How often the held back rows are inserted: the quickest run counts, and the one whose WAL has the fewest whole pages, which come
after a checkpoint."""
BLOCK = 8_192
OPCLASSES = {operator: opclass for opclass, (operator, _) in SEARCHES.items()}
"""How a search is asked for -> the operator class of its GIN index."""


@dataclass(frozen=True)
class Price:
    """What inserting some rows took.

    Attributes:
        seconds: of the quickest run.
        wal: bytes of write-ahead log.
    """

    rows: int
    seconds: float
    wal: int


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        sample: rows that it was built on.
        size: its bytes, for all rows of the table: grown from the sample's in proportion.
        seconds: building it took, on the sample.
        before: the price of inserts without it; None where the sample has too few rows.
        after: with it.
        proofs: of each combination that it serves.
        broken: why it couldn't be built; nothing where it could.
    """

    sample: int
    size: int = 0
    seconds: float = 0.0
    before: Price | None = None
    after: Price | None = None
    proofs: tuple[Proof, ...] = ()
    broken: str = ""

    @property
    def faults(self) -> list[str]:
        """What is wrong with its plans."""
        return [str(fault) for proof in self.proofs for fault in proof.faults]

    @property
    def proven(self) -> bool:
        """Whether all that it serves, as far as the sample had values to ask for, rides it."""
        return not self.broken and not self.faults and any(proof.statements for proof in self.proofs)


async def tried(scratch: AsyncConnection, readers: AsyncEngine, sample: Sample, suggestion: Suggestion) -> Trial:
    """Try a suggestion, and leave the sample as it was.

    Args:
        scratch: a connection under autocommit to the scratch database.
        readers: connections to it as the service's reads have them.
        sample: of the suggestion's table.
        suggestion: what to try.
    """
    before = await price(scratch, sample)
    whole = surface(sample.model)
    if suggestion.instead:
        await scratch.exec_driver_sql(f"DROP INDEX IF EXISTS {_placed(sample, suggestion.instead)}")
    try:
        began = time.perf_counter()
        try:
            await scratch.exec_driver_sql(create(whole, suggestion.index))
        except DBAPIError as error:  # a key that is too long, an operator class that isn't there
            return Trial(sample.rows, broken=f"PostgreSQL can't build it: {str(error.orig).rpartition('>: ')[2]}")
        seconds = time.perf_counter() - began
        await scratch.exec_driver_sql(f"ANALYZE {sample.table}")
        size = int(await _value(scratch, "SELECT pg_relation_size(to_regclass($1))", _placed(sample, suggestion.index.name)))
        proofs = await proven(readers, changed(whole, suggestion), suggestion.index.name)
        after = await price(scratch, sample)
        return Trial(sample.rows, _grown(size, sample), seconds, before, after, proofs)
    finally:
        await scratch.exec_driver_sql(f"DROP INDEX IF EXISTS {_placed(sample, suggestion.index.name)}")
        if suggestion.instead:
            await scratch.execute(
                CreateIndex(next(one for one in table_of(sample.model).indexes if one.name == suggestion.instead))
            )
        await scratch.exec_driver_sql(f"VACUUM {sample.table}")


def _grown(size: int, sample: Sample) -> int:
    return max(size, round(size * sample.known / max(sample.rows, 1) / BLOCK) * BLOCK)


async def proven(readers: AsyncEngine, of: Surface, index: str) -> tuple[Proof, ...]:
    """Prove what an index serves, on rows of the sample."""
    async with readers.connect() as connection:
        found = await drawn(connection, of)
        prover = await Prover.on(connection, of, found.samples, forms=(Page(),), twins=await twins(connection, of))
        return tuple([await prover.prove(one) for one in served(of.contract) if one.path == index])


async def keeps(scratch: AsyncConnection, sample: Sample, path: Path) -> bool:
    """Whether no two rows of a sample have the same keys of a unique index."""
    of = surface(sample.model)
    keys = ", ".join(sql(of.expressions[key.name]) for key in path.keys)
    given = [f"{sql(of.expressions[key.name])} IS NOT NULL" for key in path.keys]
    where = " AND ".join([*given, *([sql(condition(of, path))] if path.predicate else [])])
    twice = f"SELECT FROM {sample.staged} WHERE {where} GROUP BY {keys} HAVING count(*) > 1"
    return not await _value(scratch, f"SELECT EXISTS ({twice})")


async def price(scratch: AsyncConnection, sample: Sample) -> Price | None:
    """What it takes to insert the rows that are held back; None where there are none. They don't stay."""
    if not sample.held:
        return None
    runs = [await _inserted(scratch, sample) for _ in range(RUNS)]
    _, wal = min((plan["WAL FPI"], plan["WAL Bytes"]) for _, plan in runs)
    return Price(sample.held, min(seconds for seconds, _ in runs), wal)


async def _inserted(scratch: AsyncConnection, sample: Sample) -> tuple[float, dict[str, Any]]:
    """Seconds, and what EXPLAIN says of the insert."""
    driver: Any = (await scratch.get_raw_connection()).driver_connection
    transaction = driver.transaction()
    await transaction.start()
    try:
        told = await driver.fetchval(f"EXPLAIN (ANALYZE, WAL, TIMING OFF, COSTS OFF, FORMAT JSON) {sample.inserting}")
    finally:
        await transaction.rollback()
    (plan,) = told
    return plan["Execution Time"] / 1000, plan["Plan"]


async def _value(connection: AsyncConnection, query: str, *values: Any) -> Any:
    driver: Any = (await connection.get_raw_connection()).driver_connection
    return await driver.fetchval(query, *values)


def _placed(sample: Sample, index: str) -> str:
    schema = table_of(sample.model).schema
    return ".".join(QUOTE.quote(part) for part in (schema, index) if part)


def changed(whole: Surface, suggestion: Suggestion) -> Surface:
    """A table's surface with a suggestion in it."""
    contract, index = whole.contract, suggestion.index
    if isinstance(index, SearchPath):
        return replace(whole, contract=replace(contract, searches=(*contract.searches, index)))
    paths = (*(path for path in contract.paths if path.name != suggestion.instead), index)
    predicates = {name: where for name, where in whole.predicates.items() if name != suggestion.instead}
    if index.predicate:
        predicates[index.name] = condition(whole, index)
    return replace(whole, contract=replace(contract, paths=paths), predicates=predicates)


def condition(of: Surface, path: Path) -> ColumnElement[bool]:
    """The WHERE of a partial index."""
    return and_(*(_term(of, term) for term in path.predicate))


def _term(of: Surface, term: Term) -> ColumnElement[bool]:
    expression = of.expressions[term.name]
    if term.value is None or isinstance(term.value, bool):
        return expression.is_not(term.value) if term.negated else expression.is_(term.value)
    equal: ColumnElement[bool] = expression == term.value
    return equal


def create(of: Surface, index: Index) -> str:
    """The statement that builds an index, whose model doesn't know it."""
    table = QUOTE.format_table(table_of(of.model))
    name = QUOTE.quote(index.name)
    if isinstance(index, SearchPath):
        return f"CREATE INDEX {name} ON {table} USING gin (({sql(of.expressions[index.key])}) {OPCLASSES[index.operator]})"
    keys = ", ".join(
        f"({sql(of.expressions[key.name])}){' DESC' if key.descending else ''} NULLS {'FIRST' if key.nulls_first else 'LAST'}"
        for key in index.keys
    )
    include = ", ".join(sql(of.expressions[column]) for column in sorted(index.include))
    parts = [f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {name} ON {table} USING btree ({keys})"]
    parts += [f"INCLUDE ({include})"] if include else []
    parts += [f"WHERE {sql(condition(of, index))}"] if index.predicate else []
    return " ".join(parts)


def sql(expression: ColumnElement[Any]) -> str:
    """An expression as an index spells it."""
    return str(expression.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True, "include_table": False}))
