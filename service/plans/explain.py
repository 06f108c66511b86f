"""PostgreSQL's plan for a statement, as a tree of nodes. Nothing is executed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ClauseElement
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Node:
    """One node of a plan, with what PostgreSQL says of it under its own names."""

    told: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """`Index Scan`, `Sort`, `Limit`..."""
        return str(self.told["Node Type"])

    @property
    def index(self) -> str | None:
        """The index that the node reads, if it reads one."""
        return self.told.get("Index Name")

    @property
    def condition(self) -> str:
        """What the index is entered with."""
        return str(self.told.get("Index Cond", ""))

    @property
    def filters(self) -> list[str]:
        """Conditions that are checked row by row after reading."""
        return [str(value) for name, value in self.told.items() if name.endswith("Filter") and isinstance(value, str)]

    def walk(self) -> Iterator["Node"]:
        """The node and all below it."""
        yield self
        for below in self.told.get("Plans", ()):
            yield from Node(below).walk()


async def explain(connection: AsyncConnection, statement: ClauseElement) -> Node:
    """The plan of a statement with its own values."""
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    names = getattr(compiled, "positiontup", None) or ()
    return await explain_sql(connection, str(compiled), [compiled.params[name] for name in names])


async def explain_sql(connection: AsyncConnection, sql: str, values: Sequence[Any]) -> Node:
    """The plan of SQL as the driver sends it, with `$1` for the first value."""
    answer = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}", tuple(values))
    return Node(answer.scalar_one()[0]["Plan"])
