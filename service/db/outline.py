"""The outline of PostgreSQL's plan for one statement, without a value in it. Nothing is executed but EXPLAIN.

A plan quotes the values that its statement was planned for, and a statement may hold some that were written into it: of both only
names and operators are kept, and each value becomes a question mark.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles

from service.telemetry.veiling import without_values

EXPLAIN = "EXPLAIN (FORMAT JSON)"
CONDITIONS = ("Index Cond", "Recheck Cond", "Filter", "Join Filter", "Hash Cond", "Merge Cond", "One-Time Filter")
KEPT_MOST = 4_000
"""Characters of an outline."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement as the driver sends it: SQL with `$1` for the first value, and the values."""

    sql: str
    values: Sequence[Any] = ()


Statement = Sent | ClauseElement
"""What can be explained: as the driver sends it, or SQLAlchemy's."""


class Explained(Executable, ClauseElement):
    """A statement with EXPLAIN before it; its values are bound as they would be without."""

    inherit_cache = False

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement


@compiles(Explained)
def _compiled(element: Explained, compiler: Any, **options: Any) -> str:
    return f"{EXPLAIN} {compiler.process(element.statement, **options)}"


async def outlined(connection: AsyncConnection, statement: Statement) -> str:
    """The outline of a statement's plan for its own values.

    Raises:
        DBAPIError: PostgreSQL refuses it.
        asyncpg.PostgresError: likewise, where the driver sends it.
    """
    if isinstance(statement, Sent):
        driver: Any = (await connection.get_raw_connection()).driver_connection
        answer = await driver.fetchval(f"{EXPLAIN} {statement.sql}", *statement.values)
    else:
        answer = (await connection.execute(Explained(statement))).scalar_one()
    return "\n".join(_lines(answer[0]["Plan"], ""))[:KEPT_MOST]


def _lines(node: Mapping[str, Any], indent: str) -> Iterator[str]:
    what = str(node["Node Type"])
    if "Index Name" in node:
        what += f" using {node['Index Name']}"
    if "Relation Name" in node:
        what += f" on {node['Relation Name']}"
    yield f"{indent}{what} (rows={node['Plan Rows']} cost={node['Total Cost']:.0f})"
    for name in CONDITIONS:
        if name in node:
            yield f"{indent}  {name}: {without_values(str(node[name]))}"
    if "Sort Key" in node:
        yield f"{indent}  Sort Key: {without_values(', '.join(node['Sort Key']))}"
    for below in node.get("Plans", ()):
        yield from _lines(below, indent + "  ")
