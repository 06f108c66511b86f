"""The OpenAPI document is valid, promises what is served and nothing else, and the service keeps it."""

from collections.abc import Iterator
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
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from service.app import create_app
from service.contract.served import served
from service.db import surface
from service.settings import load
from service.tables.books import Book, BookRead
from tests.db.kinds import Apart
from tests.factories.books import BookFactory

SENT = ("method", "url", "params", "headers", "json")
METHODS = {"get", "post", "patch", "delete", "put"}
DOCUMENT = create_app(load(_env_file=None, database_url="postgresql://nobody@/nothing", secrets="x" * 32)).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)]
CASES = st.one_of([found.as_strategy() for found in OPERATIONS])
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
        ("/v1/books", "get", {"200", "400", "422", "503"}),
        ("/v1/books", "post", {"201", "400", "409", "415", "422", "503", "507"}),
        ("/v1/books:batch", "post", {"201", "400", "409", "415", "422", "503", "507"}),
        ("/v1/books/{id}", "get", {"200", "404", "422", "503"}),
        ("/v1/books/{id}", "patch", {"204", "400", "404", "409", "415", "422", "503", "507"}),
        ("/v1/books/{id}", "delete", {"204", "404", "409", "422", "503"}),
        ("/v1/books:contract", "get", {"200"}),
    ],
)
def test_an_operation_tells_its_answers(path: str, method: str, statuses: set[str]) -> None:
    assert set(operation(path, method)["responses"]) == statuses


def test_a_list_takes_what_is_served_and_nothing_else() -> None:
    offers = served(surface(Book).of(frozenset(BookRead.model_fields)).contract)
    filters = {part.partition("=")[0] for one in offers for part in (*one.filters, *one.ranges)}
    own = {"sort", "limit", "cursor", "count", "fields", "include"}
    assert {one["name"] for one in operation("/v1/books", "get")["parameters"]} == filters | own
    assert "version" not in str(operation("/v1/books", "get"))


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


@given(case=CASES)
@effort(
    max_examples=250,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
async def test_whatever_is_asked_the_document_is_kept(app: FastAPI, client: AsyncClient, case: Any) -> None:
    sent = case.as_transport_kwargs(base_url="http://test")
    answer = await client.request(content=sent.get("data"), **{name: sent[name] for name in SENT if name in sent})
    case.validate_response(Response.from_any(answer), checks=CHECKS)


async def test_real_rows_keep_the_document(client: AsyncClient) -> None:
    book = await BookFactory.create(attributes={"a": [1]})
    for path in ("/v1/books", "/v1/books?include=author&count=capped", "/v1/authors", "/v1/books:contract"):
        SCHEMA[path.partition("?")[0]]["GET"].validate_response(Response.from_any(await client.get(path)))
    SCHEMA["/v1/books/{id}"]["GET"].validate_response(Response.from_any(await client.get(f"/v1/books/{book.id}")))
