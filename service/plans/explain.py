"""PostgreSQL's plan for a statement, as a tree of nodes. Nothing is executed.

A plan for any value can only be had of a prepared statement: EXPLAIN with values beside it plans for those, whatever the mode.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ClauseElement
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import outline

EXPLAIN = outline.EXPLAIN


@dataclass(frozen=True)
class Node:
    """One node of a plan, with what PostgreSQL says of it under its own names."""

    told: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """`Index Scan`, `Sort`, `Limit`..."""
        return str(self.told["Node Type"])

    @property
    def called(self) -> str:
        """Its kind in a sentence: `an Index Scan`."""
        return f"{'an' if self.kind[0] in 'AEIOU' else 'a'} {self.kind}"

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


async def explain(connection: AsyncConnection, statement: ClauseElement) -> Node:
    """The plan of a statement with its own values: a custom plan."""
    return _top((await connection.execute(outline.Explained(statement))).scalar_one())


async def explain_generic(connection: AsyncConnection, statement: ClauseElement) -> Node:
    """The plan that PostgreSQL may keep for a statement whatever its values: a generic plan."""
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    driver: Any = (await connection.get_raw_connection()).driver_connection
    async with generic_plans(driver):
        return await explain_prepared(driver, await driver.prepare(str(compiled)))


async def explain_sql(connection: AsyncConnection, sql: str, values: Sequence[Any] = ()) -> Node:
    """The plan of SQL as the driver sends it, with `$1` for the first value."""
    return _top((await connection.exec_driver_sql(f"{EXPLAIN} {sql}", tuple(values))).scalar_one())


async def explain_sent(driver: Any, sql: str, values: Sequence[Any] = ()) -> Node:
    """As `explain_sql`, on a connection of the driver itself."""
    return _top(await driver.fetchval(f"{EXPLAIN} {sql}", *values))


@asynccontextmanager
async def generic_plans(driver: Any) -> AsyncIterator[None]:
    """Let the driver's connection plan prepared statements for any value, for as long as the block lasts."""
    before = await driver.fetchval("SHOW plan_cache_mode")
    await driver.execute("SET plan_cache_mode = force_generic_plan")
    try:
        yield
    finally:
        await driver.execute(f"SET plan_cache_mode = {before}")


async def explain_prepared(driver: Any, prepared: Any) -> Node:
    """The plan of a statement that the driver has prepared, inside `generic_plans`."""
    nothing = ", ".join("NULL" for _ in prepared.get_parameters())  # values that say nothing: they play no part
    return _top(await driver.fetchval(f"{EXPLAIN} EXECUTE {prepared.get_name()}" + (f"({nothing})" if nothing else "")))


def _top(answer: Any) -> Node:
    return Node(answer[0]["Plan"])
