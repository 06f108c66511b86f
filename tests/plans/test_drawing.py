"""Values for questions, drawn from rows: common and rare ones, a bounded part of a table, and nothing of an empty one."""

from dataclasses import replace

import pytest
from sqlalchemy import Text, cast, func, literal_column, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.contract.served import served
from service.db import Model, surface
from service.plans.drawing import BLOCKS, ENOUGH, asked, drawn, looked_for
from service.plans.questions import lacking
from service.plans.repeating import TOUCHED, relations
from tests.fixtures.parcels import Parcel
from tests.fixtures.rows import COMMON, MODELS, Full, changing

OF = surface(Parcel)
INSERTED = """
INSERT INTO parcels (code, zone, slot, label, posted, weight, sender, fragile)
SELECT gen_random_uuid(), 1, g, 'Label ' || g, current_date, 1, CASE WHEN g = :rows - 1 THEN 'somebody' END, g % 2 = 0
FROM generate_series(1, :rows) AS g
"""


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__tablename__)
async def test_every_question_of_a_full_table_gets_its_values(model: type[Model], full: Full) -> None:
    of = surface(model)
    async with full.engine.connect() as connection:
        found = await drawn(connection, of)
    assert (found.rows, found.enough) == (ENOUGH, True)
    assert found.samples.keys() == set(asked(of))
    assert not any(None in values for values in found.samples.values())
    assert [lacking(of, one, found.samples) for one in served(of.contract)] == [[]] * len(served(of.contract))


async def test_the_common_value_is_that_of_most_rows_and_the_rare_one_isnt(full: Full) -> None:
    async with full.engine.connect() as connection:
        common, rare = (await drawn(connection, OF)).samples["zone"]
        count = text("SELECT count(*) FROM parcels WHERE zone = :zone")
        counts = [await connection.scalar(count, {"zone": zone}) for zone in (common, rare)]
    assert common == COMMON
    assert counts[0] > 20_000
    assert 0 < counts[1] < 100


async def test_the_same_values_are_drawn_each_time(full: Full) -> None:
    async with full.engine.connect() as connection:
        assert await drawn(connection, OF) == await drawn(connection, OF)


async def test_a_few_blocks_are_read_however_large_the_table_is(full: Full) -> None:
    async with changing(full) as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver
        counted = await relations(driver, "parcels")
        before = await driver.fetchval(TOUCHED, counted)
        await drawn(connection, OF)
        touched = await driver.fetchval(TOUCHED, counted) - before
        assert await connection.scalar(text("SELECT pg_relation_size('parcels') / 8192")) > 6 * BLOCKS
    assert touched < 3 * BLOCKS


async def holding(connection: AsyncConnection, rows: int) -> None:
    """Leave so many parcels, one of them with a sender. What is rolled back must leave no dead rows: hence TRUNCATE."""
    await connection.execute(text("TRUNCATE parcels"))
    await connection.execute(text(INSERTED.replace(":rows", str(rows))))


@pytest.mark.parametrize("rows", [0, 1, ENOUGH - 1])
async def test_a_table_with_few_rows_proves_nothing(rows: int, full: Full) -> None:
    async with changing(full) as connection:
        await holding(connection, rows)
        found = await drawn(connection, OF)
    assert (found.rows, found.enough) == (rows, False)
    assert bool(found.samples) == bool(rows)


async def test_a_value_that_few_rows_have_is_looked_for(full: Full) -> None:
    async with changing(full) as connection:
        await holding(connection, 20_000)
        found = await drawn(connection, OF)
    assert found.samples["sender"] == ("somebody", "somebody")
    assert "delivered_at" not in found.samples


async def test_what_isnt_found_in_time_is_not_there(full: Full) -> None:
    slow = replace(OF, expressions={"label": cast(func.pg_sleep(0.2), Text)})
    async with full.engine.connect() as connection:
        await connection.execute(text("SET statement_timeout = 50"))
        assert await looked_for(connection, slow, "label") == {}
        await connection.execute(text("RESET statement_timeout"))
        assert await looked_for(connection, OF, "label") != {}


async def test_any_other_failure_is_told(full: Full) -> None:
    wrong = replace(OF, expressions={"label": literal_column("nowhere")})
    async with full.engine.connect() as connection:
        with pytest.raises(DBAPIError, match="nowhere"):
            await looked_for(connection, wrong, "label")
