"""What every table must keep, whoever wrote it: its plans, its walks, its refusals, its factory, its indexes.

Tables are found by `service.schema`: a new table file brings these tests along.
"""

import importlib
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx import AsyncClient
from sqlalchemy import Enum, Index, String, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.routing import BaseRoute, Mount

from service import schema
from service.app import PREFIX, create_app
from service.contract.choose import choose
from service.contract.question import FOLDED, Question, Sort
from service.contract.served import Served, served
from service.db import Model, surface
from service.db.bound import Bound
from service.db.model import table_of
from service.db.surface import idle, unled
from service.http.costs import HEALTH
from service.http.jobs import NAME as JOBS
from service.http.pages import ASSETS
from service.http.scopes import DOCS, Declared
from service.http.serve import Routes
from service.jobs.links import ROUTE
from service.migrations.rowversion import NAME as ROW_VERSION
from service.migrations.rowversion import keeps_version
from service.plans.forms import FORMS, Counted, Form
from service.plans.proof import Prover
from service.settings import Settings
from tests.factories import ModelFactory
from tests.fixtures.application import client_of
from tests.fixtures.keys import bearer, granted
from tests.fixtures.referring import DELETES, drop_indexes_on, referring, scans_of_deletes
from tests.fixtures.rows import MODELS as FULL_MODELS
from tests.fixtures.rows import Full, changing
from tests.fixtures.statements import Queries

MODELS = schema.models()
SENT: tuple[Form, ...] = tuple(Counted(1_000) if isinstance(form, Counted) else form for form in FORMS)
"""What the read path sends; counts end as much sooner as these tables are smaller than those that the cap is meant for."""
each_table = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__tablename__)
REFERRED = [model for model in MODELS if referring(model)]
each_referred = pytest.mark.parametrize("model", REFERRED, ids=lambda model: model.__tablename__)
COMBINATIONS = [(model, one) for model in FULL_MODELS for one in served(surface(model).contract)]


def each(combinations: Iterable[tuple[type[Model], Served]]) -> pytest.MarkDecorator:
    """Run a test for each combination that tables serve."""
    named = [pytest.param(model, one, id=f"{model.__tablename__}: {one.path}: {one.kind}: {one}") for model, one in combinations]
    return pytest.mark.parametrize(("model", "one"), named)


@each(COMBINATIONS)
async def test_every_question_rides_its_path_however_often_it_is_asked(model: type[Model], one: Served, full: Full) -> None:
    async with full.engine.connect() as connection:
        prover = await Prover.on(connection, surface(model), full.samples[model.__tablename__], forms=SENT)
        proof = await prover.prove(one)
    assert proof.statements, proof.unproven
    assert not proof.faults, "\n".join(map(str, proof.faults[:20]))


@each_referred
async def test_deleting_a_row_scans_no_table_that_refers_to_it(model: type[Model], full: Full) -> None:
    if unled(model):
        return  # there is no DELETE route
    async with changing(full) as connection:
        assert await scans_of_deletes(connection, model) == 0


@each_referred
async def test_without_its_index_a_foreign_key_is_seen_to_be_scanned_for(model: type[Model], full: Full) -> None:
    for column in referring(model):
        async with changing(full) as connection:
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


def test_every_route_declares_what_it_needs(app: FastAPI) -> None:
    """One that was forgotten would be open to administrators alone, or, on a router of one's own, to everybody."""
    forgotten = [getattr(route, "path", route) for route in routes_of(app) if not (is_declared(route) or is_assets(route))]
    assert forgotten == []


def is_of_jobs(path: str) -> bool:
    """Whether a key sees there what it has asked for itself, whatever its scopes."""
    return path.startswith(f"{PREFIX}/{JOBS}") and not path.endswith(":contract")


def routes_of(holder: Any) -> Iterator[BaseRoute]:
    """The routes of an application, those of the routers in it too."""
    for route in holder.routes:
        inner = getattr(route, "original_router", None)
        yield from [route] if inner is None else routes_of(inner)


def is_declared(route: BaseRoute) -> bool:
    """Whether a route says what it needs."""
    return isinstance(route, Declared) and route.needed is not None


def is_assets(route: BaseRoute) -> bool:
    """Whether it is what Swagger is made of."""
    return isinstance(route, Mount) and route.path == ASSETS


async def test_every_route_lets_in_who_has_its_scope_and_nobody_else(settings: Settings, database: Bound) -> None:
    """Without a key 401, with one of every other scope 403, whatever the body; with its own scope the route itself answers."""
    app = create_app(settings.model_copy(update={"public_docs": False}), database)
    operations = [
        (method, path.replace("{id}", "1"), operation["security"])
        for path, item in app.openapi()["paths"].items()
        for method, operation in item.items()
    ]
    needed = {scope for _, _, ways in operations for way in ways for scope in way["key"]}
    async with client_of(app, key=None) as client:
        for method, path, ways in operations:
            scopes = [scope for way in ways for scope in way["key"]]
            if not scopes:
                assert path in HEALTH or path.startswith(f"{ROUTE}/")  # a link is as good as a key
                continue
            others = await granted(database, *(needed - set(scopes)))
            statuses = [
                (await client.request(method, path, headers=headers, content=b"{")).status_code
                for headers in ({}, bearer(others), bearer(await granted(database, *scopes)))
            ]
            every = 403 if scopes != [DOCS] and not is_of_jobs(path) else statuses[1]  # any key opens the docs, and its own jobs
            assert statuses[:2] == [401, every], f"{method} {path}"
            assert statuses[2] not in {401, 403}, f"{method} {path}"


async def test_no_route_shows_a_table_to_a_key_that_it_cannot_confine(settings: Settings, database: Bound) -> None:
    """Of every table that doesn't know the column, whatever is asked."""
    app = create_app(settings, database)
    key = bearer(await granted(database, "admin", within={"no_such_column": "1"}))
    async with client_of(app) as client:
        for path, item in app.openapi()["paths"].items():
            for method, operation in item.items():
                if operation["security"] and path.startswith(PREFIX) and not path.endswith(":contract"):
                    answer = await client.request(method, path.replace("{id}", "1"), headers=key, content=b"{")
                    expected = 403 if not is_of_jobs(path) else 404 if "{id}" in path else 200  # of which it has none
                    assert answer.status_code == expected, f"{method} {path}"


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
