"""Whole walks by cursor against ORDER BY and OFFSET: the same rows in the same order, through the repository and over HTTP.

PostgreSQL itself is the oracle: the filters as plain comparisons, NULL as smaller than any value, and no index allowed.
"""

import datetime
import decimal
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from hypothesis import HealthCheck, given
from hypothesis import settings as trial
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.app import create_app
from service.contract.choose import Choice, choose
from service.contract.question import FOLDED, Bound, Question, Range, Sort, joined, prefix_spelled, range_spelled, spelled
from service.contract.served import Served, served
from service.db import folded, surface
from service.db.bound import Bound as BoundDatabase
from service.db.bound import rolled_back
from service.db.wire import wire
from service.settings import Settings
from tests.fixtures.application import client_of
from tests.fixtures.parcels import Parcel, Parcels, router

OF = surface(Parcel)
OFFERS = served(OF.contract)
LISTS = [one for one in OFFERS if one.kind == "list"]
VALUES: dict[str, tuple[Any, ...]] = {
    "id": (1, 3, 5, 8),
    "zone": (0, 1, 2),
    "slot": (1, 2, 6),
    "label": ("Éclair", "éclair", "Zoo", "ЖУК", "жук", "\ud7ff", "夜", "a", ""),
    "sender": ("Ärzte", "Zoo", "Жук", "😀", "a%b", "a"),
    "weight": tuple(map(decimal.Decimal, ("0", "1.50", "1.5001", "-2", "1000000000000000000000.1"))),
    "posted": (datetime.date(1, 1, 1), datetime.date(2020, 2, 29), datetime.date(9999, 12, 31)),
    "fragile": (True, False),
    "delivered_at": (datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),),
    "code": tuple(uuid.UUID(int=number << 120) for number in (0, 1, 128, 255)),
}
NULLABLE = ("sender", "weight", "posted", "delivered_at")


@dataclass
class World:
    """A table of parcels whose rows each example replaces, a repository over it, and a service that serves it."""

    database: BoundDatabase
    client: AsyncClient
    rows: Parcels = field(init=False)

    def __post_init__(self) -> None:
        self.rows = Parcels(self.database)

    async def refill(self, rows: Sequence[dict[str, Any]]) -> None:
        """Replace all rows."""
        async with self.database.writing() as unit:
            await unit.session.execute(text("TRUNCATE parcels"))
            if rows:
                await unit.session.execute(insert(Parcel), list(rows))


@pytest.fixture(scope="module")
async def world(engine: AsyncEngine, settings: Settings) -> AsyncIterator[World]:
    """The table, in a transaction that is rolled back."""
    async with rolled_back(engine) as database:
        async with database.writing() as unit:
            await (await unit.session.connection()).run_sync(Parcel.metadata.create_all)
        app: FastAPI = create_app(settings, database)
        app.include_router(router, prefix="/test")
        async with client_of(app) as client:
            yield World(database, client)


def parcels() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Up to a dozen rows, most of them alike in something."""
    columns = {name: st.sampled_from(values) for name, values in VALUES.items() if name not in {"id", "slot", "code"}}
    row = st.fixed_dictionaries({name: found | st.none() if name in NULLABLE else found for name, found in columns.items()})
    return st.lists(row, max_size=12).map(
        lambda rows: [{**row, "id": at + 1, "slot": at, "code": uuid.UUID(int=at * 37 % 256 << 120)} for at, row in enumerate(rows)]
    )


@st.composite
def questions(draw: Any) -> Question:
    """A question that is served, with values."""
    one: Served = draw(st.sampled_from(LISTS))
    path = next(path for path in OF.contract.paths if path.name == one.path)
    fixed = {term.name: term.value for term in path.predicate if not term.negated}
    equals = {name: fixed[name] if name in fixed else draw(values_of(name, one)) for name in one.equals}
    sorts = [tuple(Sort(part.removeprefix("-"), part.startswith("-")) for part in spelling.split(",")) for spelling in one.sorts]
    sort = draw(st.sampled_from([*sorts, *([None] if one.default else [])]))
    free = next(key for key in path.keys if key.name not in one.equals)
    ranges = (draw(ranges_of(free.name, free.text)),) if one.ranged or draw(st.booleans()) else ()
    return Question(equals, ranges, sort=sort)


def values_of(name: str, one: Served) -> st.SearchStrategy[Any]:
    """Values to ask for: NULL too where it may be asked for."""
    values = st.sampled_from(VALUES[name.removesuffix(FOLDED)])
    may_be_null = name in OF.contract.nullable and name not in one.present and not name.endswith(FOLDED)
    return values | st.none() if may_be_null else values


@st.composite
def ranges_of(draw: Any, name: str, is_text: bool) -> Range:
    """One end, both ends, or a prefix."""
    values = st.sampled_from(VALUES[name.removesuffix(FOLDED)])
    if name.endswith(FOLDED) or (is_text and draw(st.booleans())):
        return Range(name, prefix=draw(values.filter(bool))[: draw(st.integers(1, 3))])
    lower = draw(st.none() | st.builds(Bound, values, st.booleans()))
    upper = draw(st.builds(Bound, values, st.booleans()) if lower is None else st.none() | st.builds(Bound, values, st.booleans()))
    return Range(name, lower, upper)


def conditions(question: Question) -> Iterator[ColumnElement[bool]]:
    """The filters, said plainly."""
    for name, value in question.equals.items():
        wanted = folded(value) if name.endswith(FOLDED) else value
        yield OF.expressions[name].is_(None) if value is None else OF.expressions[name] == wanted
    for found in question.ranges:
        key = OF.expressions[found.name]
        if found.prefix is not None:
            yield func.starts_with(key, folded(found.prefix) if found.name.endswith(FOLDED) else found.prefix)
        if found.lower:
            yield key >= found.lower.value if found.lower.inclusive else key > found.lower.value
        if found.upper:
            yield key <= found.upper.value if found.upper.inclusive else key < found.upper.value


async def paged_by_offset(world: World, question: Question, size: int) -> list[list[int]]:
    """The pages that ORDER BY and OFFSET give, without an index."""
    sorts = list(OF.contract.default_order if question.sort is None else question.sort)
    sorts.append(Sort("id", sorts[-1].descending if sorts else False))
    keys = [(OF.expressions[sort.name], sort.descending) for sort in sorts]
    order = [key.desc().nulls_last() if descending else key.asc().nulls_first() for key, descending in keys]
    statement = select(Parcel.id).where(*conditions(question)).order_by(*order).limit(size)
    pages: list[list[int]] = []
    async with world.database.reading() as session:
        await session.execute(text("SET LOCAL enable_indexscan = off"))
        await session.execute(text("SET LOCAL enable_bitmapscan = off"))
        while not pages or len(pages[-1]) == size:
            pages.append(list(await session.scalars(statement.offset(size * len(pages)))))
        await session.execute(text("SET LOCAL enable_indexscan = on"))
    return pages if len(pages) == 1 or pages[-1] else pages[:-1]


async def paged_by_cursor(world: World, question: Question, choice: Choice, size: int) -> list[list[int]]:
    """The pages of a repository."""
    page = await world.rows.ask(question, choice, size)
    pages = [[row.id for row in page]]
    while page.last is not None:
        page = await world.rows.ask(question, choice, size, after=page.last)
        pages.append([row.id for row in page])
    return pages


async def paged_over_http(world: World, question: Question, size: int) -> list[list[int]]:
    """The pages of a client that follows `next`."""
    parameters = {**asked_as(question), "limit": str(size)}
    pages: list[list[int]] = []
    while True:
        answer = await world.client.get("/test/parcels", params=parameters)
        assert answer.status_code == 200, answer.text
        pages.append([row["id"] for row in answer.json()["data"]])
        if answer.json()["next"] is None:
            return pages
        parameters["cursor"] = answer.json()["next"]


def asked_as(question: Question) -> dict[str, str]:
    """A question as the parameters of a URL."""
    asked = {spelled(name)[:-1]: written(name, value) for name, value in question.equals.items()}
    for found in question.ranges:
        if found.prefix is not None:
            asked[prefix_spelled(found.name)[:-1]] = found.prefix
        else:
            ends = [end.value for end in (found.lower, found.upper) if end]
            asked |= {name[:-1]: written(found.name, end) for name, end in zip(range_spelled(found), ends, strict=True)}
    return asked if question.sort is None else {**asked, "sort": joined(question.sort)}


def written(name: str, value: Any) -> str:
    """A value as a URL spells it."""
    form = wire(OF.type_of(name))
    assert form
    spelling = form.dump(value)
    return "null" if value is None else str(spelling).lower() if isinstance(value, bool) else str(spelling)


examples = trial(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@examples
@given(question=questions(), rows=parcels(), size=st.integers(1, 5))
async def test_a_repository_walks_as_order_by_and_offset_do(
    world: World, question: Question, rows: list[dict[str, Any]], size: int
) -> None:
    choice = choose(OF.contract, question)
    assert choice
    await world.refill(rows)
    assert await paged_by_cursor(world, question, choice, size) == await paged_by_offset(world, question, size)


@examples
@given(question=questions(), rows=parcels(), size=st.integers(1, 5))
async def test_a_client_walks_as_order_by_and_offset_do(
    world: World, question: Question, rows: list[dict[str, Any]], size: int
) -> None:
    await world.refill(rows)
    assert await paged_over_http(world, question, size) == await paged_by_offset(world, question, size)


@pytest.mark.parametrize("one", LISTS, ids=str)
async def test_each_list_of_the_table_is_walked_through_its_nulls(world: World, one: Served) -> None:
    rows = [
        {
            name: None if name in NULLABLE and (at >> bit) & 1 else values[at % 2 % len(values)]
            for bit, (name, values) in enumerate(VALUES.items())
        }
        | {"id": at + 1, "slot": at, "code": uuid.UUID(int=at)}
        for at in range(64)
    ]
    await world.refill(rows)
    path = next(path for path in OF.contract.paths if path.name == one.path)
    fixed = {term.name: term.value for term in path.predicate if not term.negated}
    equals = {name: fixed.get(name, VALUES[name.removesuffix(FOLDED)][0]) for name in one.equals}
    for spelling in one.sorts if not one.ranged else ():
        sort = tuple(Sort(part.removeprefix("-"), part.startswith("-")) for part in spelling.split(","))
        question = Question(equals, sort=sort)
        choice = choose(OF.contract, question)
        assert choice
        assert await paged_by_cursor(world, question, choice, 3) == await paged_by_offset(world, question, 3)
