"""What searches cost, in buffers: the search itself is bounded by what it finds and by its index, never by the table."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.deep_pages import buffers
from bench.searching import SEARCHES, Cost, costs
from service.contract.served import Served, served
from service.db import Model, surface
from service.db.searching import SEARCH_MOST
from service.db.statements import Asked
from service.plans.explain import Node
from service.plans.questions import chosen, questions
from service.settings import Settings
from tests.bench.test_deep_pages import LIMIT
from tests.fixtures.rows import MODELS, Full
from tests.fixtures.servers import Servers

FOUND = [(model, one) for model in MODELS for one in served(surface(model).contract) if one.kind == "search"]


def asked(model: type[Model], one: Served, full: Full) -> Iterator[Asked]:
    """A search for the common value of a table, and one for the rare."""
    of = surface(model)
    return (Asked(of, question, chosen(of, question)) for question in questions(of, one, full.samples[model.__tablename__]))


@pytest.mark.parametrize(("model", "one"), [pytest.param(*pair, id=f"{pair[0].__tablename__}: {pair[1]}") for pair in FOUND])
async def test_a_search_reads_its_index_and_what_that_points_at(model: type[Model], one: Served, full: Full) -> None:
    names = list(model.__mapper__.column_attrs.keys())
    async with full.engine.connect() as connection:
        for search in asked(model, one, full):
            page = search.page(names, LIMIT)
            nodes = list((await explain_analyzed(connection, page)).walk())
            heap = next(node.told for node in nodes if node.kind == "Bitmap Heap Scan")
            index = next(node.told for node in nodes if node.kind == "Bitmap Index Scan")
            met = heap["Actual Rows"] + heap.get("Rows Removed by Index Recheck", 0)
            assert heap["Exact Heap Blocks"] <= met <= index["Actual Rows"]
            assert heap["Actual Rows"] <= SEARCH_MOST + 1
            assert heap.get("Lossy Heap Blocks", 0) == 0
            assert index["Shared Hit Blocks"] + index["Shared Read Blocks"] <= 60
            assert await buffers(connection, page) <= heap["Exact Heap Blocks"] + 60 + 4 * LIMIT, search.question


async def explain_analyzed(connection: AsyncConnection, statement: Any) -> Node:
    """The plan of a statement, with what it did."""
    sql = str(statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True}))
    answer = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
    return Node(answer.scalar_one()[0]["Plan"])


def by_title(found: list[Cost]) -> dict[str, Cost]:
    """Costs by what was searched."""
    return {cost.search.title.partition(":")[0]: cost for cost in found}


@pytest.mark.slow
async def test_among_a_million_titles(servers: Servers, settings: Settings) -> None:
    found = by_title(await costs(servers.database("postgres"), 1_000_000))
    assert len(found) == len(SEARCHES)
    assert [str(cost) for cost in found.values() if cost.milliseconds >= settings.read_timeout_ms] == []
    assert found["a rare word"].found == 20
    assert found["an absent word"].found == found["an absent member"].found == 0
    assert found["a rare member"].found == 10
    for title in ("in every title", "in an eighth of them", "in an eighth, not ASCII", "in half of the rows"):
        assert found[title].found == settings.search_most + 1
    for title in ("a rare word", "an absent word", "a rare member", "an absent member"):
        assert found[title].buffers < 200, str(found[title])
    for title in ("in every title", "in an eighth of them", "in an eighth, not ASCII", "in half of the rows"):
        assert found[title].buffers < 4_000, str(found[title])
