"""What runs of a statement touched, counted while PostgreSQL decides whether to keep a plan that doesn't know the values."""

from typing import Any

import pytest
from asyncpg import ReadOnlySQLTransactionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.plans.budget import GROWTH
from service.plans.explain import explain_prepared, generic_plans
from service.plans.repeating import RUNS, relations, repeated
from tests.fixtures.rows import Full

FRAGILE = "SELECT * FROM skewed WHERE tag = $1 ORDER BY id LIMIT 5"
SKEWED = """
CREATE TABLE skewed (id bigint PRIMARY KEY, tag text COLLATE "C" NOT NULL, rest text NOT NULL);
INSERT INTO skewed SELECT g, CASE WHEN g % 2 = 0 THEN 'common' ELSE 'tag ' || g END, repeat('x', 200)
FROM generate_series(1, 20000) AS g;
CREATE INDEX ix_skewed_by_tag ON skewed (tag);
ANALYZE skewed;
SET LOCAL random_page_cost = 1.1;
SET LOCAL enable_bitmapscan = off
"""
"""To a plan that knows the value, half of the rows match, and the first five are soon met. One that doesn't expects two rows."""


async def driver_of(connection: AsyncConnection) -> Any:
    """The driver's own connection."""
    return (await connection.get_raw_connection()).driver_connection


@pytest.fixture
async def skewed(planner: AsyncConnection) -> Any:
    """A connection on which the skewed table exists."""
    for statement in SKEWED.split(";"):
        await planner.exec_driver_sql(statement)
    return await driver_of(planner)


async def test_a_plan_that_turns_generic_and_gets_worse_is_seen(skewed: Any) -> None:
    prepared = await skewed.prepare(FRAGILE)
    ran = await repeated(skewed, prepared, ["common"], await relations(skewed, "skewed"))
    assert len(ran.rows) == 5
    assert ran.first < 20
    assert ran.last > 100 * ran.first
    kept = await skewed.fetchval("SELECT generic_plans FROM pg_prepared_statements WHERE name = $1", prepared.get_name())
    assert kept == RUNS - 5  # PostgreSQL plans five times for the values, and then compares


async def test_a_statement_that_stays_as_cheap_is_seen_to(skewed: Any) -> None:
    prepared = await skewed.prepare("SELECT * FROM skewed WHERE id = $1")
    ran = await repeated(skewed, prepared, [7], await relations(skewed, "skewed"))
    assert [row["id"] for row in ran.rows] == [7]
    assert 0 < ran.last <= ran.first + GROWTH


async def test_buffers_are_counted_as_explain_counts_them(full: Full) -> None:
    sql = "SELECT * FROM parcels WHERE id BETWEEN 300 AND 900 ORDER BY id LIMIT 200"
    async with full.engine.connect() as connection:
        driver = await driver_of(connection)
        ran = await repeated(driver, await driver.prepare(sql), [], await relations(driver, "parcels"))
        plan = (await driver.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"))[0]["Plan"]
    assert ran.last == plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_what_would_write_is_refused_whatever_the_connection_may(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        driver = await driver_of(connection)
        prepared = await driver.prepare("DELETE FROM alembic_version")
        with pytest.raises(ReadOnlySQLTransactionError):
            await repeated(driver, prepared, [], [])
        assert not driver.is_in_transaction()


async def test_a_table_has_its_own_blocks_and_those_of_its_indexes(full: Full) -> None:
    async with full.engine.connect() as connection:
        driver = await driver_of(connection)
        counted = await relations(driver, "parcels")
        names = {row[0] for row in await driver.fetch("SELECT relname FROM pg_class WHERE oid = ANY ($1)", counted)}
    assert {"parcels", "pk_parcels", "ix_parcels_by_zone", "uq_parcels_place"} <= names
    assert not any(name.startswith("pg_toast") for name in names)


async def test_the_generic_plan_is_the_one_that_is_kept(skewed: Any) -> None:
    prepared = await skewed.prepare(FRAGILE)
    async with generic_plans(skewed):
        plan = await explain_prepared(skewed, prepared)
    assert "ix_skewed_by_tag" in {node.index for node in plan.walk()}
    assert await skewed.fetchval("SHOW plan_cache_mode") == "auto"
