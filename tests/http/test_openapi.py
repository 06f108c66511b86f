"""The OpenAPI document is valid, promises what is served and nothing else, and the service keeps it."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from httpx import AsyncClient
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from sqlalchemy import delete

from service.app import create_app
from service.contract.served import served
from service.db import surface
from service.db.bound import Bound
from service.db.keys import KEYS, Granted, add
from service.http.tokens import checked, prefix_of
from service.jobs.links import ROUTE
from service.settings import load
from service.tables.books import Book, BookRead
from tests.db.kinds import Apart
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of
from tests.fixtures.keys import ADMIN, SIGNATURES, bearer, forged

CONFINED = checked("shelf_confined_" + "C" * 43)
SENT = ("method", "url", "params", "headers", "json")
METHODS = {"get", "post", "patch", "delete", "put"}
DOCUMENT = create_app(load(_env_file=None, database_url="postgresql://nobody@/nothing", secrets="x" * 32)).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]
ASKED = [found for found in OPERATIONS if not found.path.endswith("/events")]
"""All but streams of events: they last as long as their job, and what is asked here asks for jobs that nobody runs."""
CASES = st.one_of([found.as_strategy() for found in ASKED])
WRONG = st.one_of([found.as_strategy(generation_mode=GenerationMode.NEGATIVE) for found in ASKED])
"""What the document forbids, in one way or another."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def parts(of: Any, name: str) -> Iterator[Any]:
    """Every value under a name, at any depth."""
    if isinstance(of, dict):
        if name in of:
            yield of[name]
        for part in of.values():
            yield from parts(part, name)
    elif isinstance(of, list):
        for part in of:
            yield from parts(part, name)


def operation(path: str, method: str) -> dict[str, Any]:
    """One operation of the document."""
    found: dict[str, Any] = DOCUMENT["paths"][path][method]
    return found


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_every_reference_resolves() -> None:
    for reference in parts(DOCUMENT, "$ref"):
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert found


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = list(parts(DOCUMENT["paths"], "operationId"))
    assert len(set(ids)) == len(ids)
    assert ids


def test_every_refusal_is_a_problem() -> None:
    for item in DOCUMENT["paths"].values():
        for method in METHODS & item.keys():
            told = {status: one["content"] for status, one in item[method]["responses"].items() if status >= "4"}
            assert all(list(content) == ["application/problem+json"] for content in told.values())


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/v1/books", "get", {"200", "304", "400", "401", "403", "422", "503"}),
        ("/v1/books", "post", {"201", "400", "401", "403", "409", "415", "422", "503", "507"}),
        ("/v1/books:batch", "post", {"201", "400", "401", "403", "409", "415", "422", "503", "507"}),
        ("/v1/books/{id}", "get", {"200", "304", "401", "403", "404", "422", "503"}),
        ("/v1/books/{id}", "patch", {"204", "400", "401", "403", "404", "409", "412", "415", "422", "503", "507"}),
        ("/v1/books/{id}", "delete", {"204", "401", "403", "404", "409", "412", "422", "503"}),
        ("/v1/loans/{id}:renew", "post", {"200", "401", "403", "404", "409", "412", "422", "428", "503"}),
        ("/v1/loans/{id}:return", "post", {"200", "401", "403", "404", "409", "412", "422", "503"}),
        ("/v1/books.csv", "get", {"200", "400", "401", "403", "422", "503"}),
        ("/v1/books:contract", "get", {"200", "401", "403"}),
    ],
)
def test_an_operation_tells_its_answers(path: str, method: str, statuses: set[str]) -> None:
    assert set(operation(path, method)["responses"]) == statuses


def test_a_list_takes_what_is_served_and_nothing_else() -> None:
    offers = served(surface(Book).of(frozenset(BookRead.model_fields)).contract)
    filters = {part.partition("=")[0] for one in offers for part in (*one.filters, *one.ranges)}
    own = {"sort", "limit", "cursor", "count", "fields", "include", "If-None-Match"}
    assert {one["name"] for one in operation("/v1/books", "get")["parameters"]} == filters | own
    assert "version" not in str(operation("/v1/books", "get"))


def test_states_are_told_and_asked_for_by_headers() -> None:
    for path, method, status in (
        ("/v1/books", "post", "201"),
        ("/v1/books/{id}", "get", "200"),
        ("/v1/books/{id}", "patch", "204"),
    ):
        assert "ETag" in operation(path, method)["responses"][status]["headers"]
    for path, required in (("/v1/books/{id}", False), ("/v1/loans/{id}:renew", True)):
        asked = [one for one in operation(path, "delete" if path.endswith("}") else "post")["parameters"] if one["in"] == "header"]
        assert [(one["name"], one["required"]) for one in asked] == [("If-Match", required)]


def test_parameters_are_typed() -> None:
    schemas = {one["name"]: one["schema"] for one in operation("/v1/books", "get")["parameters"]}
    assert schemas["author_id"]["type"] == "integer"
    assert schemas["published_year__gte"]["maximum"] == 2**31 - 1
    assert {"type": "string", "enum": ["null"]} in schemas["published_year"]["anyOf"]
    assert "-published_year" in schemas["sort"]["enum"]


def test_each_combination_is_described() -> None:
    told = operation("/v1/books", "get")["description"]
    assert "- `author_id= & [sort=-published_year or published_year] & [published_year__gt|gte|lt|lte=]`" in told


def test_tables_of_the_tests_are_not_served() -> None:
    assert not [path for path in DOCUMENT["paths"] if any(name in path for name in Apart.metadata.tables)]


async def test_the_document_is_served(client: AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json()["paths"].keys() == DOCUMENT["paths"].keys()


def test_a_key_is_asked_for_where_one_is_needed() -> None:
    """By the scheme that Swagger's button knows, with the scope that the route needs."""
    assert DOCUMENT["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, item in DOCUMENT["paths"].items():
        table = re.split("[:.]", path.split("/")[2])[0] if path.startswith("/v1/") else None
        for method in METHODS & item.keys():
            needed = f"{table}:{'read' if method == 'get' or path.endswith(':export') else 'write'}"
            told = [] if table is None else [{}, {"key": ["docs:read"]}] if path.endswith(":contract") else [{"key": [needed]}]
            told = [{"key": ["metrics"]}] if path == "/metrics" else [] if path.startswith(f"{ROUTE}/") else told
            assert item[method]["security"] == told, f"{method} {path}"


async def kept(client: AsyncClient, case: Any, headers: dict[str, str], checks: Sequence[Any] = CHECKS) -> None:
    """Ask, and hold the answer against the document."""
    sent = case.as_transport_kwargs(base_url="http://test")
    asked = {name: sent[name] for name in SENT if name in sent}
    own = {name: value.encode("latin-1", "replace") for name, value in asked["headers"].items() if name.lower() != "authorization"}
    asked["headers"] = own | {name: value.encode() for name, value in headers.items()}
    answer = await client.request(content=sent.get("data"), **asked)
    case.validate_response(Response.from_any(answer), checks=list(checks))


EFFORT = effort(
    max_examples=250,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LESS = effort(EFFORT, max_examples=100)
MORE = effort(EFFORT, max_examples=1500)


@given(case=CASES)
@EFFORT
async def test_whatever_is_asked_the_document_is_kept(app: FastAPI, client: AsyncClient, case: Any) -> None:
    await kept(client, case, {})


@given(case=WRONG)
@LESS
async def test_whatever_is_sent_against_the_document_is_no_error_of_the_service(client: AsyncClient, case: Any) -> None:
    await kept(client, case, {}, [not_a_server_error])


@pytest.mark.slow
@given(case=CASES | WRONG, key=st.sampled_from(["admin", "none", "wrong"]))
@MORE
async def test_whatever_is_asked_and_however_often(app: FastAPI, case: Any, key: str) -> None:
    keys = {"admin": bearer(ADMIN), "none": {}, "wrong": bearer(forged(ADMIN))}
    async with client_of(app, key=None) as client:
        await kept(client, case, keys[key], [not_a_server_error])


@given(case=CASES, key=st.sampled_from(["none", "wrong", "confined"]))
@LESS
async def test_whatever_is_asked_with_another_key_or_none(app: FastAPI, database: Bound, case: Any, key: str) -> None:
    """Nobody, a stranger, and somebody who is confined to one member's rows."""
    keys = {"none": {}, "wrong": bearer(forged(ADMIN)), "confined": bearer(CONFINED)}
    async with client_of(app, key=None) as client:
        async with database.writing() as unit:
            await unit.session.execute(delete(KEYS).where(KEYS.c.prefix == prefix_of(CONFINED.encode())))
            await add(unit.session, SIGNATURES.sign(CONFINED.encode()), Granted("confined", ("admin",), {"member_id": "1"}))
        await kept(client, case, keys[key])


async def test_real_rows_keep_the_document(client: AsyncClient) -> None:
    book = await BookFactory.create(attributes={"a": [1]})
    for path in ("/v1/books", "/v1/books?include=author&count=capped", "/v1/authors", "/v1/books:contract"):
        SCHEMA[path.partition("?")[0]]["GET"].validate_response(Response.from_any(await client.get(path)))
    SCHEMA["/v1/books/{id}"]["GET"].validate_response(Response.from_any(await client.get(f"/v1/books/{book.id}")))
