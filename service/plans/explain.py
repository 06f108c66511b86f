"""PostgreSQL's plan for a statement, as a tree of nodes. Nothing is executed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ClauseElement, Executable
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles

EXPLAIN = "EXPLAIN (FORMAT JSON)"
PREPARED = "shelfmark_explained"


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

    @property
    def below(self) -> list["Node"]:
        """The nodes that this one reads from."""
        return [Node(told) for told in self.told.get("Plans", ())]

    def walk(self) -> Iterator["Node"]:
        """The node and all below it."""
        yield self
        for node in self.below:
            yield from node.walk()


class _Explained(Executable, ClauseElement):
    """A statement with EXPLAIN before it; its values are bound as they would be without."""

    inherit_cache = False

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement


@compiles(_Explained)
def _compiled(element: _Explained, compiler: Any, **options: Any) -> str:
    return f"{EXPLAIN} {compiler.process(element.statement, **options)}"


async def explain(connection: AsyncConnection, statement: ClauseElement) -> Node:
    """The plan of a statement with its own values: a custom plan."""
    return _top((await connection.execute(_Explained(statement))).scalar_one())


async def explain_generic(connection: AsyncConnection, statement: ClauseElement) -> Node:
    """The plan that PostgreSQL may keep for a statement whatever its values: a generic plan."""
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    nothing = ", ".join("NULL" for _ in getattr(compiled, "positiontup", None) or ())
    driver: Any = (await connection.get_raw_connection()).driver_connection
    before = await driver.fetchval("SHOW plan_cache_mode")
    await driver.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE {PREPARED} AS {compiled}")
    try:  # with values that say nothing: they play no part
        return _top(await driver.fetchval(f"{EXPLAIN} EXECUTE {PREPARED}" + (f"({nothing})" if nothing else "")))
    finally:
        await driver.execute(f"DEALLOCATE {PREPARED}; SET plan_cache_mode = {before}")


async def explain_sql(connection: AsyncConnection, sql: str, values: Sequence[Any] = ()) -> Node:
    """The plan of SQL as the driver sends it, with `$1` for the first value."""
    return _top((await connection.exec_driver_sql(f"{EXPLAIN} {sql}", tuple(values))).scalar_one())


def _top(answer: Any) -> Node:
    return Node(answer[0]["Plan"])
