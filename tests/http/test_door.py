"""What is turned away at the door: foreign names, bodies that are too large, too slow or compressed; with no statement sent."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.app import create_app
from service.db.bound import Bound
from service.http.door import Hosts, names_of
from service.http.room import LEAST_BYTES_PER_SECOND
from service.settings import Settings
from tests.factories.authors import AuthorFactory
from tests.fixtures.application import client_of
from tests.fixtures.keys import ADMIN, bearer
from tests.fixtures.statements import Queries
from tests.http.conftest import refused

JSON = {"Content-Type": "application/json"}
MOST, SECONDS = 2000, 0.3


@pytest.fixture
def bounded(settings: Settings, database: Bound) -> FastAPI:
    """The service, with a narrow door."""
    return create_app(settings.model_copy(update={"body_bytes_most": MOST, "body_seconds": SECONDS}), database)


@pytest.fixture
async def narrow(bounded: FastAPI) -> AsyncIterator[AsyncClient]:
    """Calls it."""
    async with client_of(bounded) as client:
        yield client


def of_bytes(size: int) -> bytes:
    """A good body of so many bytes."""
    body = json.dumps({"name": "a"})
    return body.encode() + b" " * (size - len(body))


async def parts(*bodies: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    """A body in parts, as it is sent where its length isn't said."""
    for body in bodies:
        await asyncio.sleep(pause)
        yield body


async def test_a_body_of_the_most_bytes_is_read(narrow: AsyncClient) -> None:
    assert (await narrow.post("/v1/authors", content=of_bytes(MOST), headers=JSON)).status_code == 201


async def test_a_body_that_says_that_it_is_too_large(narrow: AsyncClient, queries: Queries) -> None:
    """It is refused before a byte is read."""
    asked = {"type": "http", "method": "POST", "path": "/v1/authors", "query_string": b"", "client": None}
    headers = [(b"content-length", b"%d" % (MOST + 1)), (b"content-type", b"application/json")]
    status = await called(narrow, {**asked, "headers": headers}, never)
    assert status == 413
    answer = await narrow.post("/v1/authors", content=of_bytes(MOST + 1), headers=JSON)
    assert "more than 2000 bytes" in refused(answer, 413, "body-too-large")["detail"]
    assert not queries.sent


async def test_a_body_that_doesnt_say_how_large_it_is(narrow: AsyncClient, queries: Queries) -> None:
    answer = await narrow.post("/v1/authors", content=parts(of_bytes(MOST), b"  "), headers=JSON)
    refused(answer, 413, "body-too-large")
    assert not [sql for sql, _ in queries.sent if "authors" in sql]
    assert (await narrow.post("/v1/authors", content=parts(b'{"name":', b'"b"}'), headers=JSON)).status_code == 201


async def test_a_body_that_lies_about_its_length(narrow: AsyncClient) -> None:
    """A server counts as well; where it doesn't, the layer does."""
    sent = iter([of_bytes(MOST), b"x"])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": next(sent), "more_body": True}

    scope = {"type": "http", "method": "POST", "path": "/v1/authors", "query_string": b"", "client": None}
    headers = [(b"content-length", b"5"), (b"content-type", b"application/json"), (b"authorization", f"Bearer {ADMIN}".encode())]
    assert await called(narrow, {**scope, "headers": headers}, receive) == 413


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"", b"0x10", b"5, 5"])
async def test_a_length_that_is_none(narrow: AsyncClient, length: bytes) -> None:
    asked = {"type": "http", "method": "POST", "path": "/v1/authors", "query_string": b"", "client": None}
    assert await called(narrow, {**asked, "headers": [(b"content-length", length)]}, never) == 400


async def test_a_length_with_very_many_digits_is_not_even_computed(narrow: AsyncClient) -> None:
    asked = {"type": "http", "method": "POST", "path": "/v1/authors", "query_string": b"", "client": None}
    assert await called(narrow, {**asked, "headers": [(b"content-length", b"9" * 60_000)]}, never) == 413


async def never() -> dict[str, Any]:
    """Nothing may be read."""
    raise AssertionError("the body was read")


async def called(client: AsyncClient, scope: dict[str, Any], receive: Callable[[], Any]) -> int:
    """The status of a request as a server hands it on."""
    found: list[int] = []

    async def send(message: Any) -> None:
        found.append(message.get("status", 0))

    await client._transport.app(scope, receive, send)  # type: ignore[attr-defined]  # noqa: SLF001
    return found[0]


async def test_a_slow_sender(narrow: AsyncClient, queries: Queries) -> None:
    """A byte now and then wins no time, and no connection waits for it."""
    began = monotonic()
    answer = await narrow.post("/v1/authors", content=parts(*[b" "] * 100, pause=0.05), headers=JSON)
    refused(answer, 408, "slow-body")
    assert SECONDS * 0.9 < monotonic() - began < 100 * 0.05
    assert answer.headers["connection"] == "close"
    assert not [sql for sql, _ in queries.sent if "authors" in sql]


async def test_a_steady_sender_has_as_long_as_it_takes(settings: Settings, database: Bound) -> None:
    """What is sent at the least rate is read, however long it is."""
    update = {"body_bytes_most": 10_000_000, "body_seconds": SECONDS}
    pause = 0.1
    part = b" " * int(LEAST_BYTES_PER_SECOND * pause * 3)
    async with client_of(create_app(settings.model_copy(update=update), database)) as client:
        answer = await client.post("/v1/authors", content=parts(*[part] * 8, of_bytes(20), pause=pause), headers=JSON)
    assert answer.status_code == 201


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity"])
async def test_a_compressed_body_is_not_unpacked(narrow: AsyncClient, coding: str, queries: Queries) -> None:
    body = gzip.compress(b" " * 10_000_000)[:1000]
    answer = await narrow.post("/v1/authors", content=body, headers=JSON | {"Content-Encoding": coding})
    assert "Content-Encoding" in refused(answer, 415, "unsupported-media-type")["detail"]
    assert answer.headers["accept-encoding"] == "identity"
    assert not queries.sent


async def test_identity_is_no_compression(narrow: AsyncClient) -> None:
    answer = await narrow.post("/v1/authors", content=of_bytes(20), headers=JSON | {"Content-Encoding": "identity"})
    assert answer.status_code == 201


async def test_requests_without_a_body(narrow: AsyncClient) -> None:
    author = await AuthorFactory.create()
    path = f"/v1/authors/{author.id}"
    assert (await narrow.get(path)).status_code == 200
    assert (await narrow.request("GET", path, content=b"", headers={"Content-Length": "0"})).status_code == 200
    assert (await narrow.request("GET", path, content=b"something")).status_code == 200
    assert (await narrow.get(path, headers={"Content-Encoding": "gzip"})).status_code == 200
    assert (await narrow.delete(path)).status_code == 204


async def test_a_thousand_books_fit(settings: Settings, client: AsyncClient) -> None:
    """The largest batch that may be sent isn't turned away for its size."""
    book = {"title": "T" * 200, "author_id": 1, "isbn13": "9780000000002", "language": "eng", "published_year": 2000}
    more = {"ratings_count": 123_456, "attributes": {"subjects": ["something to read about"] * 40, "pages": 321}}
    body = json.dumps({"data": [book | more] * settings.batch_most})
    assert len(body) < settings.body_bytes_most
    assert (await client.post("/v1/books:batch", content=body, headers=JSON)).status_code == 422  # all the same book


async def test_a_question_that_is_refused_sends_no_statement(client: AsyncClient, queries: Queries) -> None:
    """With all layers on: it is the contract that refuses, and no layer asks the database."""
    await client.get("/v1/books?limit=1")
    queries.clear()
    for path in ("/v1/books?ratings_count=7", "/v1/books?limit=9999", "/v1/books?id__in=" + ",".join(map(str, range(101)))):
        assert (await client.get(path)).status_code in {400, 422}
    assert not queries.sent


# Names.


async def asked(app: FastAPI, host: str, path: str = "/v1/books") -> int:
    """The status of a request to a name."""
    async with client_of(app) as client:
        return (await client.get(path, headers={"Host": host})).status_code


NAMES = [
    ("api.example.org", 200),
    ("API.Example.org:8443", 200),
    ("a.books.example.org", 200),
    ("a.b.books.example.org", 200),
    ("books.example.org", 421),
    ("evilbooks.example.org", 421),
    ("evil.example", 421),
    ("api.example.org.evil.example", 421),
    ("", 421),
    ("[::1]:8000", 200),
    ("[::2]", 421),
]


@pytest.mark.parametrize(("host", "status"), NAMES)
async def test_the_services_names(settings: Settings, database: Bound, host: str, status: int) -> None:
    names = ("api.example.org", "*.books.example.org", "[::1]")
    app = create_app(settings.model_copy(update={"hosts": names}), database)
    assert await asked(app, host) == status
    assert await asked(app, host) == status
    assert await asked(app, host, "/livez") == 200


async def test_two_names_are_none(settings: Settings, database: Bound) -> None:
    app = create_app(settings.model_copy(update={"hosts": ("a",)}), database)
    async with client_of(app) as client:
        assert (await client.get("/v1/books", headers={"Host": "a"})).status_code == 200
        both = [("Host", "a"), ("Host", "b"), *bearer(ADMIN).items()]
        refused(await client.get("/v1/books", headers=both), 421, "unknown-host")
        refused(await client.get("/v1/books", headers=[both[1], both[0], both[2]]), 421, "unknown-host")


async def test_names_that_are_refused_fill_no_memory(settings: Settings, database: Bound) -> None:
    hosts = Hosts(create_app(settings, database), ("*.example.org",))
    for number in range(2000):
        scope = {"headers": [(b"host", b"%d.example.org" % number)], "path": "/"}
        hosts._look(scope)  # noqa: SLF001
    assert len(hosts._known) == 1000  # noqa: SLF001


@pytest.mark.parametrize(
    ("hosts", "listens_on", "names"),
    [
        ((), "127.0.0.1", ("localhost", "127.0.0.1", "[::1]", "127.0.0.1")),
        ((), "localhost", ("localhost", "127.0.0.1", "[::1]", "localhost")),
        ((), "0.0.0.0", ("*",)),  # noqa: S104
        ((), "api.example.org", ("*",)),
        (("api.example.org",), "127.0.0.1", ("api.example.org",)),
        (("*",), "127.0.0.1", ("*",)),
    ],
)
def test_names_by_default(hosts: tuple[str, ...], listens_on: str, names: tuple[str, ...]) -> None:
    """Where nobody but this machine can reach the service, a page that has its own name lead here must not read it."""
    assert names_of(hosts, listens_on) == names
