"""The outline of a plan: what it rides and how, and no value."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.db.outline import KEPT_MOST, Sent, outlined

SHELF = Table("shelf", MetaData(), Column("id", BigInteger, primary_key=True), Column("title", Text), prefixes=["TEMPORARY"])


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection with a table of its own, whose one index is taken, however few rows there are."""
    async with engine.connect() as made:
        await made.execute(text("SET LOCAL enable_seqscan = off"))
        await made.execute(text("SET LOCAL enable_bitmapscan = off"))
        await made.run_sync(SHELF.create)
        yield made


async def test_a_statement_as_the_driver_sends_it(connection: AsyncConnection) -> None:
    plan = await outlined(connection, Sent("SELECT * FROM shelf WHERE id = $1 AND title = 'secret'", [4711]))
    first, condition, rest, *_ = plan.splitlines()
    assert first.startswith("Index Scan using shelf_pkey on shelf (rows=1 cost=")
    assert condition == "  Index Cond: (id = ?::bigint)"
    assert rest == "  Filter: (title = ?::text)"


async def test_sqlalchemys_own(connection: AsyncConnection) -> None:
    """With its values bound: the plan is the one for them."""
    statement = select(SHELF).where(SHELF.c.id == 4711).order_by(SHELF.c.title)
    plan = await outlined(connection, statement)
    assert plan.splitlines()[0].startswith("Sort (rows=")
    assert "Sort Key: title" in plan
    assert "    Index Cond: (id = ?::bigint)" in plan
    assert "4711" not in plan


async def test_nothing_is_run(connection: AsyncConnection) -> None:
    assert "Result" in await outlined(connection, Sent("SELECT pg_sleep(60)"))


async def test_a_long_plan_is_cut(connection: AsyncConnection) -> None:
    union = " UNION ALL ".join(f"SELECT id FROM books WHERE id = {number}" for number in range(100))
    assert len(await outlined(connection, Sent(union))) == KEPT_MOST
