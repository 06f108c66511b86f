"""Scopes against routes: each needs what it declares, and nothing less lets in."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from httpx import AsyncClient
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Forbidden, Unauthorized
from service.http.callers import NOBODY, Caller
from service.http.problems import install
from service.http.scopes import ADMIN, DOCS, NOTHING, Declared, minds_rows, needed, needs, open_to_all, scope_of, unknown
from tests.fixtures.application import client_of

TABLES = ("books", "loans", "books:read", "*", "admin")
METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
SCOPES = [ADMIN, DOCS, *(f"{table}:{verb}" for table in ("books", "loans", "*") for verb in ("read", "write"))]


def allowed(held: set[str], table: str, method: str) -> bool:
    """Whether scopes let a request in, in the words of the docs."""
    verb = "read" if method in {"GET", "HEAD"} else "write"
    return "admin" in held or f"*:{verb}" in held or f"{table}:{verb}" in held


@given(held=st.sets(st.sampled_from(SCOPES)), table=st.sampled_from(["books", "loans", "members"]), method=st.sampled_from(METHODS))
def test_scopes_let_in_what_they_say(held: set[str], table: str, method: str) -> None:
    caller = Caller("aaaaaaaa", frozenset(held))
    if allowed(held, table, method):
        needed(table, method).check(caller)
        return
    with pytest.raises(Forbidden) as refused:
        needed(table, method).check(caller)
    assert refused.value.extra["scope"] in refused.value.detail
    assert allowed({refused.value.extra["scope"]}, table, method)


def test_nobody_is_told_to_send_a_key() -> None:
    with pytest.raises(Unauthorized):
        needed("books", "GET").check(NOBODY)
    needed("books", "GET").check(Caller(scopes=frozenset({"books:read"}), public=frozenset({"books:read"})))
    NOTHING.check(NOBODY)


def test_an_admin_scope_is_no_wildcard_of_a_verb() -> None:
    assert scope_of(ADMIN).grants == {ADMIN}
    with pytest.raises(Forbidden):
        scope_of(ADMIN).check(Caller("aaaaaaaa", frozenset({"*:read", "*:write"})))


def test_scopes_that_nothing_needs_are_told() -> None:
    given = ["books:read", "*:write", "admin", "boks:read", "books", "books:delete", "", "admin:read", "*", "books:read:x"]
    assert unknown(given, ["books"]) == given[3:]


class As:
    """A layer that lets everybody be one caller."""

    def __init__(self, app: ASGIApp, caller: Caller) -> None:
        self.app, self.caller = app, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        scope.setdefault("state", {})["caller"] = self.caller
        await self.app(scope, receive, send)


class OfBooks(Declared):
    """Routes of a table that keys can't be confined by."""

    table = "books"


class OfLoans(Declared):
    """Routes of a table that keys can be confined by."""

    table, rows = "loans", frozenset({"member_id"})


def routes() -> Iterator[APIRouter]:
    """Routes that declare what they need, in every way, and one that doesn't."""
    plain, books = APIRouter(route_class=Declared), APIRouter(prefix="/books", route_class=OfBooks)
    loans = APIRouter(prefix="/loans", route_class=OfLoans)

    @loans.get("/minding")
    @minds_rows
    async def minding() -> str:
        return "their loans"

    @loans.get("/careless")
    async def careless() -> str:
        return "all loans"

    @plain.get("/open")
    @open_to_all
    async def opened() -> str:
        return "open"

    @plain.get("/metrics")
    @needs("metrics:read")
    async def metrics() -> str:
        return "metrics"

    @plain.get("/forgotten")
    async def forgotten() -> str:
        return "forgotten"

    @books.get("")
    async def listed() -> str:
        return "books"

    @books.post("")
    async def made(body: dict[str, Any]) -> str:
        return str(body)

    yield from (plain, books, loans)


def client_as(*scopes: str, within: dict[str, str] | None = None, public: tuple[str, ...] = ()) -> AsyncClient:
    """A client of these routes with a key of these scopes; without one where there are none."""
    app = FastAPI()
    install(app)
    for router in routes():
        app.include_router(router)
    caller = Caller("aaaaaaaa" if scopes else "", frozenset({*scopes, *public}), within or {}, frozenset(public))
    app.user_middleware = [Middleware(As, caller)]
    return client_of(app)


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        ((), [200, 401, 401, 401, 401]),
        (("books:read",), [200, 403, 403, 200, 403]),
        (("books:write",), [200, 403, 403, 403, 422]),
        (("metrics:read",), [200, 200, 403, 403, 403]),
        (("*:read",), [200, 200, 403, 200, 403]),
        (("*:read", "*:write"), [200, 200, 403, 200, 422]),
        (("admin",), [200, 200, 200, 200, 422]),
    ],
)
async def test_what_a_route_needs_is_looked_at_before_its_body(scopes: tuple[str, ...], statuses: list[int]) -> None:
    """A route that says nothing lets administrators in alone."""
    async with client_as(*scopes) as client:
        answers = [await client.get(path) for path in ("/open", "/metrics", "/forgotten", "/books")]
        answers.append(await client.post("/books", json=[]))
    assert [answer.status_code for answer in answers] == statuses


async def test_a_method_that_isnt_there_is_no_matter_of_keys() -> None:
    async with client_as() as client:
        assert (await client.delete("/books")).status_code == 405


async def test_a_route_that_doesnt_mind_rows_is_closed_to_confined_keys() -> None:
    async with client_as("admin", within={"member_id": "7"}) as client:
        answers = [await client.get(path) for path in ("/open", "/metrics", "/books")]
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert "confined to member_id=7" in answers[2].json()["detail"]
    assert answers[2].json()["within"] == {"member_id": "7"}


@pytest.mark.parametrize(
    ("within", "minding", "careless"), [({"member_id": "7"}, 200, 403), ({"branch": "Main"}, 403, 403), ({}, 200, 200)]
)
async def test_a_route_of_a_table_that_knows_the_column_must_mind_it(within: dict[str, str], minding: int, careless: int) -> None:
    """Who forgets it shows such a key nothing, rather than everything."""
    async with client_as("loans:read", within=within) as client:
        assert (await client.get("/loans/minding")).status_code == minding
        assert (await client.get("/loans/careless")).status_code == careless


async def test_what_is_open_to_everybody_is_so_to_confined_keys() -> None:
    async with client_as("loans:read", within={"member_id": "7"}, public=("books:read",)) as client:
        assert (await client.get("/books")).status_code == 200
        assert (await client.post("/books", json={})).status_code == 403


async def test_a_refusal_names_the_scope_and_not_what_everybody_has() -> None:
    async with client_as("loans:read", public=("docs:read",)) as client:
        problem = (await client.get("/books")).json()
    assert problem["scope"] == "books:read"
    assert "has loans:read." in problem["detail"]


@given(names=st.lists(st.text(max_size=20), max_size=5))
@effort(suppress_health_check=list(HealthCheck))
def test_any_text_can_be_held_against_the_scopes(names: list[str]) -> None:
    assert set(unknown(names, TABLES)) <= set(names)
