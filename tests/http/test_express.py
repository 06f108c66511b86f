"""The express lane answers as the routes do, byte by byte; what it can't answer goes on to them."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from httpx import AsyncClient, Response
from structlog.testing import capture_logs

from service import schema
from service.app import create_app
from service.contract.served import served
from service.db import Database, Surface
from service.db.bound import Bound
from service.db.unit import Unit
from service.http.serve import Routes, serve
from service.plans.questions import questions
from service.settings import Settings
from service.tables.books import BookRead, Books, BookWrite
from tests.db.kinds import KindRead, Kinds
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of
from tests.fixtures.asking import parameters
from tests.fixtures.keys import bearer, granted
from tests.fixtures.rows import Full
from tests.fixtures.statements import Queries

OWN = {"x-request-id", "ratelimit", "ratelimit-policy"}
"""Headers of one request alone."""
BOOKS = "/v1/books"


@asynccontextmanager
async def both(settings: Settings, database: Database) -> AsyncIterator[list[AsyncClient]]:
    """A client of a service with the lane, and one of a service without."""
    apps = [create_app(settings.model_copy(update={"express_lane": on}), database) for on in (True, False)]
    async with client_of(apps[0]) as fast, client_of(apps[1]) as plain:
        yield [fast, plain]


def told(answer: Response) -> tuple[Any, ...]:
    """All of an answer that doesn't belong to one request alone."""
    body = {**answer.json(), "instance": ""} if answer.status_code >= 400 else answer.content
    return answer.status_code, sorted(header for header in answer.headers.raw if header[0].decode() not in OWN), body


async def same(clients: list[AsyncClient], url: str, given: Any = None) -> Response:
    """An answer that is the same from both."""
    fast, plain = [await client.get(url, params=given) for client in clients]
    if "next" in fast.text and fast.status_code == 200 and plain.json().get("next"):  # cursors hold the second they were made in
        assert bool(fast.json()["next"]) == bool(plain.json()["next"])
        shorn = [{**answer.json(), "next": ""} for answer in (fast, plain)]
        assert shorn[0] == shorn[1]
        assert fast.headers.keys() == plain.headers.keys()
        return fast
    assert told(fast) == told(plain)
    return fast


TABLES = [pytest.param(router, id=router.table.of.contract.table) for router in schema.routers()]


@pytest.fixture(scope="module")
async def library(full: Full, settings: Settings) -> AsyncIterator[tuple[Settings, Database]]:
    """A service's settings and database over full tables, which everybody may read."""
    open_to_all = settings.model_copy(update={"public_read": schema.served(), "read_timeout_ms": 60_000})
    database = Database.connect(full.url, open_to_all)
    yield open_to_all, database
    await database.close()


def asked(of: Surface, full: Full) -> Iterator[dict[str, str]]:
    """Every question of a table but for searches, as parameters."""
    for one in (one for one in served(of.contract) if one.kind != "search"):
        for question in questions(of, one, full.samples[of.contract.table]):
            yield parameters(of, question)


@pytest.mark.parametrize("router", TABLES)
async def test_every_question_is_answered_alike(router: Routes, full: Full, library: tuple[Settings, Database]) -> None:
    settings, database = library
    async with both(settings, database) as (fast, plain):
        for given in asked(router.table.of, full):
            clients = [AsyncClient(transport=client._transport, base_url=client.base_url) for client in (fast, plain)]  # noqa: SLF001  # no key
            first = await same(clients, f"/v1{router.prefix}", {**given, "limit": "3"})
            assert first.status_code == 200, first.text
            if first.json()["next"]:
                await same(clients, f"/v1{router.prefix}", {**given, "limit": "3", "cursor": first.json()["next"]})


URLS = (
    "",
    "?limit=1",
    "?fields=id,title",
    "?fields=title,id&limit=2",
    "?fields=nothing",
    "?limit=0",
    "?limit=x",
    "?sort=id&sort=id",
    "?author_id=x",
    "?author_id=null",
    "?ratings_count=7",
    "?cursor=abc",
    "?id__in=1,2,3",
    "?id__in=1,x",
    f"?id__in={','.join(map(str, range(101)))}",
    "?isbn13=1&cursor=abc",
    "?title__icontains=it",
    "?count=capped",
    "?count=estimated&limit=1",
    "?include=author&limit=1",
    "?title__istartswith=%C3%89",
    "?title=%FF",
    "?published_year__gte=1990&published_year__lt=2000&author_id=1",
    "/1",
    "/x",
    "/1?fields=id",
    "/1?fields=id,nothing",
    "/1?include=author",
    "/1?fields=id&fields=title",
    "/1?limit=1",
    "/99999999",
    "/99999999999999999999",
    "/",
    "/1/",
    ":contract",
)


async def test_whatever_is_asked_is_answered_alike(settings: Settings, database: Bound) -> None:
    for _ in range(5):
        await BookFactory.create()
    async with both(settings, database) as clients:
        for url in URLS:
            for _ in range(2):  # the second time by what was remembered of the first
                await same(clients, BOOKS + url)


async def test_a_row_is_answered_alike(settings: Settings, database: Bound) -> None:
    book = await BookFactory.create(title='"Quoted" \\ \x7f 😀', published_year=None)
    async with both(settings, database) as clients:
        answer = await same(clients, f"{BOOKS}/{book.id}")
        assert (await same(clients, f"{BOOKS}/{book.id}?fields=title")).json() == {"title": book.title}
    assert answer.json()["title"] == book.title


async def test_head_has_the_headers_and_no_body(settings: Settings, database: Bound) -> None:
    book = await BookFactory.create()
    async with both(settings, database) as clients:
        for url in (BOOKS, f"{BOOKS}/{book.id}"):
            fast, plain = [await client.head(url) for client in clients]
            assert told(fast) == told(plain)
            assert not fast.content


async def test_the_scope_is_checked(settings: Settings, database: Bound) -> None:
    book = await BookFactory.create()
    tokens = [await granted(database, "books:read"), await granted(database, "authors:read"), "shelf_wrong"]
    async with both(settings, database) as clients:
        for headers, status in zip([*map(bearer, tokens), {}], (200, 403, 401, 401), strict=True):
            for client in clients:
                client.headers.pop("authorization", None)
                client.headers.update(headers)
            for url in (BOOKS, f"{BOOKS}/{book.id}"):
                assert (await same(clients, url)).status_code == status


async def test_a_confined_key_sees_its_rows_only(settings: Settings, database: Bound) -> None:
    token = await granted(database, "loans:read", within={"member_id": "1"})
    async with both(settings, database) as clients:
        for client in clients:
            client.headers.update(bearer(token))
        assert (await same(clients, "/v1/loans?returned_at=null")).json()["data"] == []
        assert (await same(clients, "/v1/loans/1")).status_code == 404
        assert (await same(clients, "/v1/loans?member_id=2")).status_code == 403


async def _added(client: AsyncClient, **sent: Any) -> Response:
    """What comes of a POST; the row is taken away again, so that another one may have its name."""
    answer = await client.post("/v1/authors", **sent)
    if answer.status_code == 201:
        assert (await client.delete(answer.headers["location"])).status_code == 204
    return answer


async def added_alike(clients: list[AsyncClient], **sent: Any) -> Response:
    """A new author, or a refusal, that is the same from both but for the key."""
    fast, plain = [await _added(client, **sent) for client in clients]
    if fast.status_code != 201:
        assert told(fast) == told(plain)
        return fast
    rows = [answer.json() for answer in (fast, plain)]
    for answer, row in zip((fast, plain), rows, strict=True):
        assert answer.headers["location"] == f"/v1/authors/{row.pop('id')}"
    assert rows[0] == rows[1]
    assert [fast.status_code, *fast.headers] == [plain.status_code, *plain.headers]
    return fast


BODIES: tuple[tuple[dict[str, Any], int], ...] = (
    ({"json": {"name": "Ada"}}, 201),
    ({"json": {"name": 'Zoë "Q" \\ 😀'}}, 201),
    ({"json": {"name": "Ada"}, "params": {"name": "Bo"}}, 201),
    ({"content": b'{"name": "A", "name": "B"}', "headers": {"content-type": "application/json; charset=utf-8"}}, 201),
    ({"content": b'{"name": "Ada"}', "headers": {"content-type": "Application/JSON"}}, 201),
    ({"content": '{"name": "Ada"}'.encode("utf-16"), "headers": {"content-type": "application/json"}}, 201),
    ({"json": {"name": "Ada"}, "headers": {"idempotency-key": ""}}, 422),
    ({"json": {}}, 422),
    ({"json": {"name": None}}, 422),
    ({"json": {"name": 7}}, 422),
    ({"json": {"name": "Ada", "more": 1}}, 422),
    ({"json": {"name": "\0"}}, 422),
    ({"content": b'{"name": "\\ud800"}', "headers": {"content-type": "application/json"}}, 422),
    ({"json": ["Ada"]}, 422),
    ({"json": None}, 422),
    ({"content": b"", "headers": {"content-type": "application/json"}}, 422),
    ({"content": b'{"name": ', "headers": {"content-type": "application/json"}}, 400),
    ({"content": b"[" * 5000, "headers": {"content-type": "application/json"}}, 400),
    ({"content": b"\xff", "headers": {"content-type": "application/json"}}, 400),
    ({"content": b'{"name": "Ada"}'}, 415),
    ({"content": b'{"name": "Ada"}', "headers": {"content-type": "text/plain"}}, 415),
    ({"content": b"x", "headers": {"content-type": "application/json", "content-encoding": "gzip"}}, 415),
)


async def test_a_new_row_is_answered_alike(settings: Settings, database: Bound) -> None:
    async with both(settings, database) as clients:
        for sent, status in BODIES:
            assert (await added_alike(clients, **sent)).status_code == status, sent
        large = b" " * (settings.body_bytes_most + 1)
        assert (await added_alike(clients, content=large, headers={"content-type": "application/json"})).status_code == 413


async def test_what_the_database_refuses_is_answered_alike(settings: Settings, database: Bound) -> None:
    author = await AuthorFactory.create()
    async with both(settings, database) as clients:
        assert (await added_alike(clients, json={"name": author.name})).status_code == 409


async def test_a_body_in_parts_is_whole_wherever_it_ends_up(settings: Settings, database: Bound) -> None:
    """What the lane has read of it is there for FastAPI, too."""

    async def parts(whole: bytes) -> AsyncIterator[bytes]:
        for at in range(len(whole)):
            yield whole[at : at + 1]

    kind = {"content-type": "application/json"}
    async with both(settings, database) as clients:
        for whole, status in ((b'{"name": "Ada"}', 201), (b'{"name": 7}', 422)):
            answers = [await _added(client, content=parts(whole), headers=kind) for client in clients]
            assert [answer.status_code for answer in answers] == [status] * 2


async def test_a_write_needs_its_scope(settings: Settings, database: Bound) -> None:
    tokens = [await granted(database, "authors:write"), await granted(database, "authors:read"), "shelf_wrong"]
    async with both(settings, database) as clients:
        for headers, status in zip([*map(bearer, tokens), {}], (201, 403, 401, 401), strict=True):
            for client in clients:
                client.headers.pop("authorization", None)
                client.headers.update(headers)
            assert (await added_alike(clients, json={"name": "Ada"})).status_code == status


async def test_a_confined_key_adds_its_own_rows_only(settings: Settings, database: Bound) -> None:
    token = await granted(database, "authors:write", within={"member_id": "1"})
    async with both(settings, database) as clients:
        for client in clients:
            client.headers.update(bearer(token))
        assert (await added_alike(clients, json={"name": "Ada"})).status_code == 403


async def test_a_write_with_a_hook_is_a_unit_of_work(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    """The lane has read the body by then; it is written once all the same."""
    seen: list[Unit] = []

    async def look(unit: Unit) -> None:
        seen.append(unit)

    database.before_commit.append(look)
    answer = await client.post("/v1/authors", json={"name": "Ada"})
    database.before_commit.clear()
    assert (answer.status_code, len(seen)) == (201, 1)
    assert answer.json()["name"] == "Ada"


def reasons(app: FastAPI) -> dict[str, str]:
    """What isn't laned, and why."""
    with capture_logs() as logs:
        app.state.lanes.find(app)
    return {line["route"]: line["reason"] for line in logs if "express lane" in line["event"]}


def test_every_table_of_the_library_is_laned(app: FastAPI) -> None:
    assert reasons(app) == {}
    assert app.state.lanes.left == {("POST", "/v1/copies"): "Copies has a way of its own to create"}
    paths = {f"/v1{router.prefix}" for router in schema.routers()}
    assert (app.state.lanes.lists.keys(), app.state.lanes.rows.keys()) == (paths, paths)
    assert {"/v1/authors", "/v1/books"} <= app.state.lanes.creates.keys() < paths


class Shown(BookRead):
    """A shape that is worked out in Python."""

    @property
    def loud(self) -> str:
        """Not shown."""
        return self.title


def added(app: FastAPI, router: APIRouter, prefix: str, **options: Any) -> FastAPI:
    """An application with one more router."""
    app.include_router(router, prefix=prefix, **options)
    return app


def nothing() -> None:
    """A dependency."""


def test_a_route_with_more_to_do_is_left_to_fastapi(app: FastAPI) -> None:
    plain = serve(Books, at="/books", read=BookRead, write=BookWrite)
    added(app, plain, "/depending", dependencies=[Depends(nothing)])
    added(app, plain, "/otherwise", default_response_class=JSONResponse)
    added(app, serve(Kinds, at="/kinds", read=KindRead), "/typed")
    first = APIRouter()
    first.add_api_route("/books/newest", lambda: {"newest": True})
    added(added(app, first, "/shadowed"), plain, "/shadowed")
    found = reasons(app)
    assert found["/depending/books"] == found["/depending/books/{id}"] == "it has a dependency"
    assert found["/otherwise/books"] == "it has a response class of its own"
    assert "of a type that PostgreSQL doesn't write" in found["/typed/kinds"]
    assert not [path for path in app.state.lanes.creates if path.startswith(("/depending", "/otherwise", "/typed"))]
    assert found["/shadowed/books/{id}"] == "/shadowed/books/newest comes before it"
    assert "/shadowed/books" not in found
    assert "/shadowed/books" in app.state.lanes.lists


async def test_an_override_is_heeded(app: FastAPI, client: AsyncClient) -> None:
    """A test that replaces something gets the routes that heed it."""
    seen: list[str] = []

    @app.middleware("http")
    async def look(request: Request, go_on: Any) -> Any:
        answer = await go_on(request)
        seen.append(type(request.scope.get("route")).__name__)
        return answer

    await client.get(BOOKS)
    app.dependency_overrides[nothing] = nothing
    await client.get(BOOKS)
    assert seen[0] != seen[1]


async def test_a_row_costs_one_statement_and_so_does_a_list(client: AsyncClient, queries: Queries) -> None:
    book = await BookFactory.create()
    for url in (f"{BOOKS}/{book.id}", f"{BOOKS}?author_id={book.author_id}", BOOKS):
        queries.clear()
        assert (await client.get(url)).status_code == 200
        assert len(queries) == 1


async def test_a_new_row_costs_one_statement(client: AsyncClient, queries: Queries) -> None:
    assert (await client.post("/v1/authors", json={"name": "Ada"})).status_code == 201
    assert len(queries) == 1


async def test_answers_are_counted_by_their_lane(client: AsyncClient) -> None:
    await client.post("/v1/authors", json={"name": "Ada"})
    await client.post("/v1/authors", json={"name": 7})
    told = (await client.get("/metrics")).text
    found = re.findall(r'^shelfmark_requests_total{lane="(.*?)",method="POST",.*status="(.*?)"}', told, re.MULTILINE)
    assert found == [("express", "2xx"), ("routes", "4xx")]
