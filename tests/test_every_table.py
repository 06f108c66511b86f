"""What every table must keep, whoever wrote it: its plans, its walks, its refusals, its factory, its indexes.

Tables are found by `service.schema`: a new table file brings these tests along.
"""

import importlib
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi.routing import APIRoute
from httpx import AsyncClient
from sqlalchemy import Enum, Index, String, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service import schema
from service.app import PREFIX
from service.contract.choose import choose
from service.contract.question import FOLDED, Question, Sort
from service.contract.served import Served, served
from service.db import Model, surface
from service.db.bound import Bound
from service.db.model import table_of
from service.db.statements import Asked
from service.db.surface import idle, unled
from service.http.serve import Routes
from service.migrations.rowversion import NAME as ROW_VERSION
from service.migrations.rowversion import keeps_version
from service.plans.check import broken
from service.plans.explain import explain, explain_generic
from tests.factories import ModelFactory
from tests.fixtures.questions import chosen, lasts, questions
from tests.fixtures.referring import DELETES, drop_indexes_on, referring, scans_of_deletes
from tests.fixtures.rows import MODELS as FULL_MODELS
from tests.fixtures.rows import Full
from tests.fixtures.statements import Queries

MODELS = schema.models()
LIMIT = 51
each_table = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__tablename__)
REFERRED = [model for model in MODELS if referring(model)]
each_referred = pytest.mark.parametrize("model", REFERRED, ids=lambda model: model.__tablename__)
COMBINATIONS = [(model, one) for model in FULL_MODELS for one in served(surface(model).contract)]


def each(combinations: Iterable[tuple[type[Model], Served]]) -> pytest.MarkDecorator:
    """Run a test for each combination that tables serve."""
    named = [pytest.param(model, one, id=f"{model.__tablename__}: {one.path}: {one.kind}: {one}") for model, one in combinations]
    return pytest.mark.parametrize(("model", "one"), named)


def carried(model: type[Model], one: Served) -> list[str]:
    """The names that a list's index carries; none where PostgreSQL reads the table all the same: expressions and predicates."""
    if one.kind == "search":
        return []
    path = next(path for path in surface(model).contract.paths if path.name == one.path)
    whole = one.kind == "list" and not path.predicate and not any(name.endswith(FOLDED) for name in path.names)
    return [*path.names, *path.include] if whole else []


def droppable(model: type[Model], one: Served) -> bool:
    """Whether a combination's index isn't a constraint's."""
    return one.path in {index.name for index in table_of(model).indexes}


def asked(model: type[Model], one: Served, full: Full) -> Iterator[tuple[Question, Asked, Any]]:
    """Every question of a combination, with each place where its page may begin."""
    of, samples = surface(model), full.samples[model.__tablename__]
    for question in questions(of, one, samples):
        choice = chosen(of, question)
        for last in lasts(choice, samples):
            yield question, Asked(of, question, choice), last


@each(COMBINATIONS)
async def test_every_page_rides_the_path_that_was_promised(model: type[Model], one: Served, full: Full) -> None:
    names = list(model.__mapper__.column_attrs.keys())
    wrong: list[str] = []
    seen: set[str] = set()
    async with full.engine.connect() as connection:
        for question, asking, last in asked(model, one, full):
            statement = asking.page(names, LIMIT, last)
            plans = [("its values", await explain(connection, statement))]
            if str(statement) not in seen:
                seen.add(str(statement))
                plans.append(("any values", await explain_generic(connection, statement)))
            for how, plan in plans:
                faults = broken(plan, question, asking.choice)
                wrong += [f"{question} after {last}, planned for {how}: {fault}" for fault in faults]
    assert seen
    assert not wrong, "\n".join(wrong[:20])


@each((model, one) for model, one in COMBINATIONS if carried(model, one))
async def test_a_page_of_what_the_index_carries_reads_the_index_alone(model: type[Model], one: Served, full: Full) -> None:
    async with full.engine.connect() as connection:
        for question, asking, last in asked(model, one, full):
            if asking.choice.path.name == one.path:
                plan = await explain(connection, asking.page(carried(model, one), LIMIT, last))
                kinds = {node.kind for node in plan.walk() if node.index}
                assert kinds <= {"Index Only Scan"}, f"{question} after {last}"


@each((model, one) for model, one in COMBINATIONS if droppable(model, one))
async def test_without_its_index_a_question_is_seen_to_be_broken(model: type[Model], one: Served, full: Full) -> None:
    names = list(model.__mapper__.column_attrs.keys())
    question, asking, _ = next(asked(model, one, full))
    index = asking.choice.path.name
    async with writing(full) as connection:
        assert broken(await explain(connection, asking.page(names, LIMIT)), question, asking.choice) == []
        await connection.exec_driver_sql(f'DROP INDEX "{index}"')
        assert broken(await explain(connection, asking.page(names, LIMIT)), question, asking.choice)


@asynccontextmanager
async def writing(full: Full) -> AsyncIterator[AsyncConnection]:
    """A transaction in the full database, rolled back."""
    async with full.engine.connect() as lent:
        connection = await lent.execution_options(isolation_level="READ COMMITTED", postgresql_readonly=False)
        await connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        yield connection
        await connection.rollback()


@each_referred
async def test_deleting_a_row_scans_no_table_that_refers_to_it(model: type[Model], full: Full) -> None:
    if unled(model):
        return  # there is no DELETE route
    async with writing(full) as connection:
        assert await scans_of_deletes(connection, model) == 0


@each_referred
async def test_without_its_index_a_foreign_key_is_seen_to_be_scanned_for(model: type[Model], full: Full) -> None:
    for column in referring(model):
        async with writing(full) as connection:
            await drop_indexes_on(connection, column)
            assert await scans_of_deletes(connection, model) >= DELETES, f"a delete scans nothing without an index on {column}"


@each_table
def test_rows_can_be_deleted_over_http_only_if_no_scan_follows(model: type[Model]) -> None:
    routes = router_of(model)
    routes.settle()
    names = {route.name for route in routes.routes if isinstance(route, APIRoute)}
    assert (f"{model.__tablename__}_delete" in names) == (routes.writable and not unled(model))
    assert len(routes.undeletable()) == (len(unled(model)) if routes.writable else 0)


@each_table
async def test_a_walk_meets_each_row_once_while_others_are_inserted(
    model: type[Model], client: AsyncClient, database: Bound
) -> None:
    factory, of = factory_of(model), surface(model)
    before = {key_of(row) for row in await several(factory, 9)}
    for one in (one for one in served(of.contract) if one.kind == "list" and not one.filters and not one.ranged):
        for sort in one.sorts:
            met = [key async for key in walk(client, model, sort, factory)]
            assert len(met) == len(set(met)), f"sort={sort} met a row twice"
            assert before <= set(met), f"sort={sort} missed {before - set(met)}"
            assert met == [key for key in await in_order(database, model, sort) if key in set(met)], f"sort={sort} is in no order"


async def walk(client: AsyncClient, model: type[Model], sort: str, factory: type[ModelFactory[Any]]) -> AsyncIterator[Any]:
    """The keys of all rows in pages of four; rows are inserted before each page but the first."""
    of = surface(model)
    cursor: str | None = None
    for page in itertools.count():
        if page in {1, 2}:
            await several(factory, 1)
        asking = {"sort": sort, "limit": "4"} | ({"cursor": cursor} if cursor else {})
        answer = await client.get(at(model), params=asking)
        assert answer.status_code == 200, answer.text
        for row in answer.json()["data"]:
            yield row[of.primary]
        cursor = answer.json()["next"]
        if cursor is None:
            return


async def several(factory: type[ModelFactory[Any]], count: int) -> list[Any]:
    """Rows of which every third has NULLs wherever it may."""
    of = surface(factory._meta.model)  # noqa: SLF001 - factory-boy says it nowhere else
    nothing = {name: None for name in of.contract.nullable if not name.endswith(FOLDED)}
    return [await factory.create(**({} if number % 3 else nothing)) for number in range(count)]


def key_of(row: Any) -> Any:
    """A row's primary key."""
    model: type[Model] = type(row)
    return getattr(row, surface(model).primary)


async def in_order(database: Bound, model: type[Model], sort: str) -> list[Any]:
    """All keys in an order, sorted by PostgreSQL without a limit: NULLs are smaller than any value."""
    of = surface(model)
    sorts = [Sort(part.removeprefix("-"), part.startswith("-")) for part in sort.split(",")]
    sorts.append(Sort(of.primary, sorts[-1].descending))
    keys = [(of.expressions[sort.name], sort.descending) for sort in sorts]
    order = [key.desc().nulls_last() if descending else key.asc().nulls_first() for key, descending in keys]
    async with database.reading() as session:
        return list(await session.scalars(select(of.expressions[of.primary]).order_by(*order)))


@each_table
async def test_an_unserved_question_is_refused_and_sends_no_statement(
    model: type[Model], client: AsyncClient, queries: Queries
) -> None:
    of = surface(model)
    unserved = [name for name in of.expressions if not choose(of.contract, Question(sort=(Sort(name),)))]
    answers = [await client.get(at(model), params={"sort": name}) for name in unserved]
    refused = [answer.json() for answer in answers if answer.status_code == 400]
    assert {answer.status_code for answer in answers} <= {400, 422}  # a hidden column is as unknown as one that doesn't exist
    assert refused, f"every order of {model.__tablename__} is served"
    assert all(problem["type"].endswith("/not-served") and problem["nearest"] and problem["served"] for problem in refused)
    assert len(queries) == 0, str(queries)


@each_table
async def test_a_factory_makes_a_row_that_is_served(model: type[Model], client: AsyncClient) -> None:
    row = await factory_of(model).create()
    answer = await client.get(f"{at(model)}/{key_of(row)}")
    assert answer.status_code == 200, answer.text
    assert answer.json()[surface(model).primary] == key_of(row)


@each_table
async def test_the_database_keeps_the_version_of_its_rows(model: type[Model], engine: AsyncEngine) -> None:
    found = text("SELECT tgenabled FROM pg_trigger WHERE tgrelid = CAST(:table AS regclass) AND tgname = :name")
    async with engine.connect() as connection:
        enabled = (await connection.execute(found, {"table": f'"{model.__tablename__}"', "name": ROW_VERSION})).scalars().all()
    assert enabled == ([b"O"] if keeps_version(table_of(model)) else [])


@each_table
def test_each_index_is_an_attribute_whose_name_tells_its_table(model: type[Model]) -> None:
    table = table_of(model)
    attributes = [value for value in vars(model).values() if isinstance(value, Index)]
    assert set(attributes) == set(table.indexes)
    for index in attributes:
        prefix = "uq" if index.unique else "ix"
        assert str(index.name).startswith(f"{prefix}_{table.name}_"), f"{index.name} should begin with {prefix}_{table.name}_"


@each_table
def test_text_is_ordered_by_code_points(model: type[Model]) -> None:
    texts = [column for column in table_of(model).columns if isinstance(column.type, String) and not isinstance(column.type, Enum)]
    assert [column.name for column in texts if column.type.collation != "C"] == []  # type: ignore[attr-defined]


@each_table
def test_no_index_of_a_table_serves_nothing(model: type[Model]) -> None:
    assert idle(model) == []


@each_table
async def test_the_order_of_a_list_can_be_asked_for_by_name(model: type[Model], client: AsyncClient) -> None:
    default = (await client.get(f"{at(model)}:contract")).json()["default_order"]
    assert [str(sort) for sort in surface(model).contract.default_order] == default
    names = {sort.removeprefix("-") for sort in default}
    assert names <= set(surface(model).expressions)


def at(model: type[Model]) -> str:
    """Where a table is served."""
    return PREFIX + router_of(model).prefix


def router_of(model: type[Model]) -> Routes:
    """The routes of a table."""
    router = importlib.import_module(model.__module__).router
    assert isinstance(router, Routes), f"{model.__module__} has no router = serve(...)"
    return router


def factory_of(model: type[Model]) -> type[ModelFactory[Any]]:
    """The factory of a model, in the file of tests/factories that is called like the table's."""
    module = importlib.import_module(f"tests.factories.{model.__module__.rpartition('.')[2]}")
    factories = [found for found in vars(module).values() if isinstance(found, type) and issubclass(found, ModelFactory)]
    return next(found for found in factories if found._meta.model is model)  # noqa: SLF001 - factory-boy says it nowhere else
