"""What deep pages cost, in buffers: a count, so that the machine's speed plays no part."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.deep_pages import WALKS, Walk, buffers, measured
from service.contract.keyset import after
from service.contract.question import Question
from service.contract.served import Served, served
from service.db import Model, surface
from service.db.statements import Asked
from service.plans.questions import chosen, questions
from tests.fixtures.rows import MODELS, Full

LIMIT = 51
LISTS = [(model, one) for model in MODELS for one in served(surface(model).contract) if one.kind == "list"]


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.title)
async def test_page_500_costs_what_page_1_costs(walk: Walk, full: Full) -> None:
    async with full.engine.connect() as connection:
        cost = await measured(connection, walk, 500)
    assert cost.pages[500] <= 1.2 * cost.pages[1] + 2, str(cost)
    assert cost.offsets[500] > 20 * cost.pages[500], "OFFSET reads all that it skips: the measurement would show it"


@pytest.mark.parametrize(("model", "one"), [pytest.param(*pair, id=f"{pair[0].__tablename__}: {pair[1]}") for pair in LISTS])
async def test_a_page_halfway_reads_its_own_rows_and_little_more(model: type[Model], one: Served, full: Full) -> None:
    names = list(model.__mapper__.column_attrs.keys())
    async with full.engine.connect() as connection:
        for question in some(model, one, full):
            asking = Asked(surface(model), question, chosen(surface(model), question))
            last = await halfway(connection, asking)
            cost = await buffers(connection, asking.page(names, LIMIT, last))
            descents = len(after(asking.choice.walked, last))
            assert cost <= LIMIT + 4 * descents + 2, (
                f"{question} after {last}: {cost} buffers for {LIMIT} rows, {descents} descents"
            )


def some(model: type[Model], one: Served, full: Full) -> Iterator[Question]:
    """The questions that have most rows: with and without a range, in each order."""
    every = questions(surface(model), one, full.samples[model.__tablename__])
    first = next(every)
    ranges = {first.ranges: None}
    for question in (first, *every):
        if question.equals == first.equals and (len(ranges) < 2 or question.ranges in ranges):
            ranges[question.ranges] = None
            yield question


async def halfway(connection: AsyncConnection, asking: Asked) -> dict[str, Any]:
    """The keys of the row in the middle of a question's rows."""
    total = await connection.scalar(select(func.count()).select_from(asking.everything().subquery()))
    first = asking.page([sort.name for sort in asking.choice.order], 1)
    assert total
    assert isinstance(first, Select)
    return {str(name): value for name, value in (await connection.execute(first.offset(total // 2))).mappings().one().items()}
