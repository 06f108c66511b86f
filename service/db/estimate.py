"""What PostgreSQL's planner expects of a statement, without running it."""

from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession


async def estimated(session: AsyncSession, statement: Select[Any]) -> int:
    """The number of rows that the planner expects."""
    connection = await session.connection()
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    names = compiled.positiontup or []
    values = tuple(compiled.params[name] for name in names)
    plan = (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {compiled}", values)).scalar_one()
    return int(plan[0]["Plan"]["Plan Rows"])
