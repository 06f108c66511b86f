"""Plans of statements with their values, and of statements whatever their values."""

import uuid

from sqlalchemy import Uuid, bindparam, column, literal, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from service.plans.explain import explain, explain_generic, explain_sql

SHELVES = table("shelves", column("id"), column("room"), column("open"))


async def test_a_custom_plan_knows_the_values(planner: AsyncConnection) -> None:
    plan = await explain(planner, select(SHELVES.c.id).where(SHELVES.c.id == 7).limit(literal(1, literal_execute=True)))
    (scan,) = [node for node in plan.walk() if node.index]
    assert (plan.kind, scan.index, scan.filters) == ("Limit", "shelves_pkey", [])
    assert "7" in scan.condition


async def test_a_generic_plan_knows_no_values(planner: AsyncConnection) -> None:
    plan = await explain_generic(planner, select(SHELVES.c.id).where(SHELVES.c.id == bindparam(None, 7)))
    (scan,) = [node for node in plan.walk() if node.index]
    assert scan.condition == "(id = $1)"


async def test_a_generic_plan_can_be_asked_for_again_and_leaves_nothing(planner: AsyncConnection) -> None:
    before = (await planner.exec_driver_sql("SHOW plan_cache_mode")).scalar_one()
    for _ in range(2):
        await explain_generic(planner, select(SHELVES.c.id).limit(literal(1, literal_execute=True)))
    names = await planner.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'shelfmark%'")
    assert names.scalar_one() == 0
    after = await planner.exec_driver_sql("SHOW plan_cache_mode")
    assert after.scalar_one() == before


async def test_values_are_bound_as_their_types_want_it(planner: AsyncConnection) -> None:
    plan = await explain(planner, select(SHELVES.c.id).where(bindparam(None, uuid.UUID(int=7), type_=Uuid()) == uuid.UUID(int=8)))
    assert plan.told["Plan Rows"] <= 20_000


async def test_nothing_is_executed(planner: AsyncConnection) -> None:
    plan = await explain_sql(planner, "DELETE FROM shelves WHERE id = $1", [7])
    assert plan.kind == "ModifyTable"
    left = await planner.exec_driver_sql("SELECT count(*) FROM shelves WHERE id = 7")
    assert left.scalar_one() == 1


async def test_filters_and_the_nodes_below_are_told(planner: AsyncConnection) -> None:
    await planner.exec_driver_sql("SET LOCAL enable_seqscan = off")
    plan = await explain_sql(planner, "SELECT * FROM shelves WHERE id < 9 AND tag = 'x' LIMIT 1")
    assert [node.kind for node in plan.walk()] == ["Limit", "Index Scan"]
    assert [node.filters for node in plan.below] == [["(tag = 'x'::text)"]]
