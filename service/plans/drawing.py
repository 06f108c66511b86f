"""Values to ask for, drawn from a table's own rows: of each name one that many rows have, and one that few have.

A few blocks of the table are read, always the same ones, so a table of any size is drawn from in the same time. For a name without
a value there, one is looked for along an index.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, func, literal_column, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import visitors

from service.db import Surface
from service.db.model import table_of
from service.plans.questions import Samples

ENOUGH = 1_000
"""Rows without which a table proves nothing: to PostgreSQL, all ways through a few blocks are the same."""
BLOCKS, ROWS = 100, 5_000
SEED = 7
TOOK_TOO_LONG = "57014"
PAGES = text("SELECT pg_relation_size(CAST(:table AS regclass)) / current_setting('block_size')::bigint")


@dataclass(frozen=True)
class Drawn:
    """What was drawn from a table.

    Attributes:
        rows: of the table, counted up to `ENOUGH`.
        samples: name -> a common value and a rare one; without the names of which no value was found.
    """

    rows: int
    samples: Samples

    @property
    def enough(self) -> bool:
        """Whether its plans prove anything."""
        return self.rows >= ENOUGH


async def drawn(connection: AsyncConnection, of: Surface) -> Drawn:
    """Draw from a table, reading a bounded part of it.

    Args:
        connection: one that reads under autocommit, with a time limit for each statement.
        of: what is served of the table.
    """
    table = table_of(of.model)
    some = select(literal_column("1")).select_from(table).limit(ENOUGH).subquery()
    rows = int(await connection.scalar(select(func.count()).select_from(some)) or 0)
    names = asked(of)
    found = await _few_blocks(connection, of, names) if rows else []
    samples = _values(names, found)
    for name in [name for name in names if name not in samples and rows]:
        samples |= await looked_for(connection, of, name)
    return Drawn(rows, samples)


def asked(of: Surface) -> list[str]:
    """The names that questions ask for, in the order of the columns."""
    contract = of.contract
    found = {of.primary, *(path.key for path in contract.searches)}.union(*(path.names for path in contract.paths))
    found.update(term.name for path in contract.paths for term in path.predicate)
    found.update(sort.name for sort in contract.default_order)
    return [name for name in of.expressions if name in found]


async def _few_blocks(connection: AsyncConnection, of: Surface, names: Sequence[str]) -> list[Mapping[str, Any]]:
    table = table_of(of.model)
    pages = await connection.scalar(PAGES, {"table": connection.dialect.identifier_preparer.format_table(table)})
    percent = min(100.0, 100 * BLOCKS / max(1, int(pages or 0)))
    sampled = table.tablesample(func.system(literal_column(f"{percent:.6f}")), seed=literal_column(str(SEED)))

    def moved(element: Any, **_: Any) -> Any:
        return sampled.c[element.key] if isinstance(element, Column) and element.table is table else None

    wanted = [visitors.replacement_traverse(of.expressions[name], {}, moved).label(name) for name in names]
    return [dict(row) for row in (await connection.execute(select(*wanted).limit(ROWS))).mappings()]


def _values(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """The value of each name that most of these rows have, and that of the one row that is most unlike the others."""
    told = [{name: repr(row[name]) for name in names if row[name] is not None} for row in rows]
    counts = {name: Counter(row[name] for row in told if name in row) for name in names}
    odd = min(range(len(rows)), key=lambda at: (-len(told[at]), sum(counts[name][told[at][name]] for name in told[at])), default=0)
    values = {}
    for name in (name for name in names if counts[name]):
        common, rare = _with(rows, told, name, counts[name].most_common(1)[0][0]), rows[odd][name]
        values[name] = (common, _with(rows, told, name, counts[name].most_common()[-1][0]) if rare is None else rare)
    return values


def _with(rows: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, str]], name: str, words: str) -> Any:
    return next(row[name] for row, spelled in zip(rows, told, strict=True) if spelled.get(name) == words)


async def looked_for(connection: AsyncConnection, of: Surface, name: str) -> dict[str, tuple[Any, Any]]:
    """Any value of a name that few rows have; none where none is found in the time that a statement has."""
    expression = of.expressions[name]
    try:
        value = await connection.scalar(select(expression).where(expression.is_not(None)).limit(1))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != TOOK_TOO_LONG:
            raise
        return {}
    return {} if value is None else {name: (value, value)}
