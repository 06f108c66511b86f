"""The layers around the routes: all of them, in their order, for every path; ids, headers, problems, access lines."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from service.app import create_app
from service.db import Database
from service.db.bound import Bound
from service.errors import TooManyRequests
from service.http import problems
from service.http.layers import Answering
from service.settings import Settings
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of
from tests.waiting import until

ORDER = ["Answering", "Draining", "Hosts", "Bounding", "Knowing", "Limiting", "Leaving", "Heading", "Express"]
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
SECRET = "canary"


def layers_of(app: FastAPI) -> list[Any]:
    """The layers as they are built, from the outermost to the innermost."""
    app.middleware_stack = app.build_middleware_stack()
    found: list[Any] = []
    layer: Any = app.middleware_stack
    while layer is not None:
        if type(layer).__module__.startswith("service."):
            found.append(layer)
        layer = getattr(layer, "app", None)
    return found


def test_every_request_goes_through_the_layers_in_their_order(app: FastAPI) -> None:
    """They stand around the router itself: no route, mounted application or page is beside them."""
    assert [type(layer).__name__ for layer in layers_of(app)] == ORDER


def test_what_browsers_are_allowed_stands_around_what_refuses(settings: Settings, database: Bound) -> None:
    app = create_app(settings.model_copy(update={"cors_origins": ("https://app.example.org",)}), database)
    names = [layer.cls.__name__ for layer in app.user_middleware]  # type: ignore[attr-defined]
    assert names == ["CORSMiddleware", *ORDER]


def test_no_layer_is_more_than_asgi(app: FastAPI) -> None:
    """Starlette's own base class makes a task and two queues for each request."""
    for layer in layers_of(app):
        assert not isinstance(layer, BaseHTTPMiddleware)
        assert list(inspect.signature(layer.__call__).parameters) == ["scope", "receive", "send"]
        assert "BaseHTTPMiddleware" not in inspect.getsource(inspect.getmodule(layer))  # type: ignore[arg-type]


async def test_every_path_is_behind_them(app: FastAPI, client: AsyncClient) -> None:
    """Also those that are mounted, and what isn't there."""
    paths = [re.sub(r"{\w+(:\w+)?}", "1", getattr(route, "path", "")) for route in app.router.routes]
    for path in [*filter(None, paths), "/", "/nothing", "/docs/assets/nothing", "/v1/books/"]:
        answer = await client.get(path)
        assert re.fullmatch(ID, answer.headers["x-request-id"]), path
        assert answer.headers["x-content-type-options"] == "nosniff", path


async def test_head_is_get_without_a_body(client: AsyncClient) -> None:
    book = await BookFactory.create()
    got, head = await client.get(f"/v1/books/{book.id}"), await client.head(f"/v1/books/{book.id}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_head_of_what_is_refused(client: AsyncClient) -> None:
    head = await client.head("/v1/books?ratings_count=7")
    assert (head.status_code, head.content, head.headers["content-type"]) == (400, b"", "application/problem+json")


async def test_a_path_with_a_slash_too_many_is_refused_by_a_problem(client: AsyncClient) -> None:
    answer = await client.get("/v1/books/")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


ANSWERS = ["/livez", "/v1/books", "/v1/books/0", "/v1/books?ratings_count=7", "/nothing", "/problems/not-found", "/openapi.json"]


@pytest.mark.parametrize("path", ANSWERS)
async def test_every_answer_has_the_headers_that_keep_browsers_safe(client: AsyncClient, path: str) -> None:
    for answer in (await client.get(path), await client.post(path), await client.head(path)):
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["cache-control"] == "private, no-cache"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


async def test_markup_in_data_is_only_data(client: AsyncClient) -> None:
    """It is answered as JSON that no browser takes for a page; no page shows data."""
    markup = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    created = await client.post("/v1/authors", json={"name": markup})
    answers = [
        await client.get(created.headers["location"]),
        await client.get("/v1/authors", params={"name__iexact": markup}),
        await client.get("/v1/authors", params={markup: markup}),
        await client.get(f"/problems/{markup}"),
        await client.get(f"/{markup}"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422, 404, 404]
    for answer in answers:
        assert answer.headers["content-type"] in {"application/json", "application/problem+json"}
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "alert(1)" not in (await client.get("/docs")).text


async def test_each_request_has_an_id_of_ours(client: AsyncClient) -> None:
    """What a client sends as one is not taken: it stands in the log."""
    answers = [await client.get("/nothing", headers={"X-Request-Id": "mine\u0020forged"}) for _ in range(100)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 100
    assert all(re.fullmatch(ID, one) for one in ids)
    assert [answer.json()["instance"].removeprefix("urn:uuid:") for answer in answers] == [
        answer.headers["x-request-id"] for answer in answers
    ]


# A small application, for what the large one doesn't do.


def small(**options: Any) -> FastAPI:
    """An application with routes that fail in every way."""
    app = FastAPI()
    problems.install(app)
    app.user_middleware = [Middleware(Answering, **options), Middleware(Refusing)]

    @app.get("/fine/{name}")
    async def fine(name: str) -> dict[str, str]:
        return {"name": name}

    @app.get("/cached")
    async def cached() -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]), headers={"Cache-Control": "max-age=60"})

    @app.get("/mistaken")
    async def mistaken() -> None:
        raise ZeroDivisionError

    @app.get("/broken")
    async def broken() -> StreamingResponse:
        def parts() -> Any:
            yield b"a"
            raise ZeroDivisionError

        return StreamingResponse(parts())

    return app


class Refusing:
    """A layer that refuses what is asked of /refused."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse, or pass on."""
        if scope["path"] == "/refused":
            scope["state"]["added"].append((b"x-more", b"yes"))
            raise TooManyRequests("Come again.", 7)
        await self.app(scope, receive, send)


@pytest.fixture
async def caller() -> AsyncIterator[Callable[..., AsyncClient]]:
    """Makes clients of the small application."""
    made: list[AsyncClient] = []

    def client(**options: Any) -> AsyncClient:
        made.append(AsyncClient(transport=ASGITransport(small(**options), raise_app_exceptions=False), base_url="http://test"))
        return made[-1]

    yield client
    for one in made:
        await one.aclose()


async def test_a_layers_refusal_is_answered(caller: Callable[..., AsyncClient]) -> None:
    answer = await caller().get("/refused")
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["x-more"]) == (429, "7", "yes")
    assert answer.json()["type"] == "/problems/too-many-requests"
    assert answer.json()["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    head = await caller().head("/refused")
    assert (head.status_code, head.content) == (429, b"")


async def test_what_a_route_says_of_caching_stands(caller: Callable[..., AsyncClient]) -> None:
    assert (await caller().get("/cached")).headers.get_list("cache-control") == ["max-age=60"]


async def test_an_answer_that_breaks_in_the_middle_is_broken_off(caller: Callable[..., AsyncClient]) -> None:
    client = AsyncClient(transport=ASGITransport(small(every=1)), base_url="http://test")
    with capture_logs() as logs, pytest.raises(ZeroDivisionError):
        await client.get("/broken")
    await client.aclose()
    assert [(line["event"], line["status"]) for line in logs] == [("request", 200)]


async def test_some_requests_are_logged(caller: Callable[..., AsyncClient]) -> None:
    client = caller(every=10)
    with capture_logs() as logs:
        for _ in range(35):
            await client.get(f"/fine/{SECRET}?title={SECRET}", headers={"Authorization": f"Bearer {SECRET}"})
    assert len(logs) == 3
    (line, *_) = logs
    assert line.keys() == {"event", "log_level", "method", "route", "status", "ms", "bytes", "key", "instance"}
    assert (line["method"], line["route"], line["status"], line["bytes"]) == ("GET", "/fine/{name}", 200, len('{"name":"canary"}'))
    assert 0 < line["ms"] < 1000
    assert SECRET not in str(logs)


async def test_a_method_that_a_client_made_up_is_not_logged(caller: Callable[..., AsyncClient]) -> None:
    client = caller(every=1)
    with capture_logs() as logs:
        for method in ("PATCH", "HEAD", "OPTIONS", SECRET.upper()):
            await client.request(method, "/fine/x")
    assert [line["method"] for line in logs] == ["PATCH", "HEAD", "OPTIONS", "other"]


async def test_what_goes_wrong_is_always_logged(caller: Callable[..., AsyncClient]) -> None:
    client = caller(every=0)
    with capture_logs() as logs:
        for _ in range(3):
            answer = await client.get(f"/mistaken?{SECRET}")
            await client.get("/refused")
            await client.get("/fine/x")
    lines = [line for line in logs if line["event"] == "request"]
    assert [(line["status"], line["route"]) for line in lines] == [(500, "/mistaken")] * 3
    assert lines[-1]["instance"] == answer.json()["instance"]
    assert SECRET not in str(logs)


async def test_what_is_slow_is_always_logged(caller: Callable[..., AsyncClient]) -> None:
    client = caller(every=0, slow_ms=0.001)
    with capture_logs() as logs:
        await client.get("/fine/x")
    assert [line["event"] for line in logs] == ["request"]


async def test_a_request_by_its_key(settings: Settings, database: Bound) -> None:
    """By the key's prefix, which is no secret; the route by its template, below the prefix of all tables."""
    book = await BookFactory.create()
    app = create_app(settings.model_copy(update={"access_log_every": 1}), database)
    async with client_of(app) as client:
        with capture_logs() as logs:
            await client.get(f"/v1/books/{book.id}?fields=id")
            await client.head("/v1/books?limit=1")
            await client.post("/v1/books:batch", json={})
            await client.get("/nothing")
    found = [(line["method"], line["route"], line["status"], line["key"]) for line in logs if line["event"] == "request"]
    assert found == [
        ("GET", "/v1/books/{id}", 200, "testadmn"),
        ("HEAD", "/v1/books", 200, "testadmn"),
        ("POST", "/v1/books:batch", 422, "testadmn"),
        ("GET", "none", 404, "testadmn"),
    ]


ORIGIN = "https://app.example.org"


async def test_pages_elsewhere_may_call_where_that_is_set(settings: Settings, database: Bound) -> None:
    """And they can read refusals as well as rows."""
    limits = {"key_requests_per_second": 0.001, "key_requests_burst": 2, "redis_url": None}
    app = create_app(settings.model_copy(update={"cors_origins": (ORIGIN,), **limits}), database)
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
    async with client_of(app) as client:
        preflight = await client.options("/v1/books/1", headers=asked)
        answers = [await client.get("/v1/books", headers={"Origin": ORIGIN}) for _ in range(2)]
        stranger = await client.options("/v1/books/1", headers=asked | {"Origin": "https://evil.example"})
        strange = await client.get("/livez", headers={"Origin": "https://evil.example"})
    assert [one.status_code for one in (preflight, *answers, stranger)] == [200, 200, 429, 400]
    for one in (preflight, *answers):
        assert one.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in one.headers
    assert "Retry-After" in answers[1].headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in stranger.headers
    assert "access-control-allow-origin" not in strange.headers


async def test_nobody_elsewhere_may_call_by_default(client: AsyncClient) -> None:
    answer = await client.options("/v1/books", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


async def test_a_request_that_asks_is_told_where_its_time_went(committing_client: AsyncClient, committed: Database) -> None:
    """In milliseconds: waiting for a connection, and holding one. Each of its own."""
    gate = committed.reads.gate
    permits = [permit for _ in range(gate.permits) if (permit := gate.spare())]
    waiting = asyncio.ensure_future(committing_client.get("/v1/books", headers={"Server-Timing": "1"}))
    await until(lambda: gate.queued)
    for permit in permits:
        permit.give_back()
    waited = parts(await waiting)
    assert waited.keys() == {"total", "wait", "db"}
    assert 0 < waited["wait"] < waited["total"]
    assert 0 < waited["db"] < waited["total"]
    other = parts(await committing_client.get("/v1/books", headers={"Server-Timing": "1"}))
    assert (other["wait"], other["db"] > 0) == (0, True)
    written = parts(await committing_client.post("/v1/authors", json={"name": "x"}, headers={"Server-Timing": "1"}))
    assert 0 < written["db"] < written["total"]
    refused = parts(await committing_client.get("/v1/books?title=It", headers={"Server-Timing": "1"}))
    assert (refused["wait"], refused["db"]) == (0, 0), "without a connection"


async def test_who_does_not_ask_or_has_no_key_is_not_told(settings: Settings, committed: Database) -> None:
    app = create_app(settings.model_copy(update={"public_read": ("books",)}), committed)
    async with client_of(app) as client, client_of(app, key=None) as stranger:
        assert "server-timing" not in (await client.get("/v1/books")).headers
        answer = await stranger.get("/v1/books", headers={"Server-Timing": "1"})
        assert (answer.status_code, "server-timing" in answer.headers) == (200, False)


def parts(answer: Response) -> dict[str, float]:
    """A header Server-Timing, in milliseconds."""
    assert answer.status_code < 500, answer.text
    pairs = [part.split(";dur=") for part in answer.headers["server-timing"].split(", ")]
    return {name: float(milliseconds) for name, milliseconds in pairs}
