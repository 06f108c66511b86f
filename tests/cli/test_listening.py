"""Heads that are too large, too slow or none at all, over a socket; and what is left of a body that was refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import pytest
from fastapi import FastAPI
from uvicorn import Config
from uvicorn.server import ServerState

from service.app import create_app
from service.cli import listening
from service.cli.listening import HEAD_BYTES_MOST, HEADERS_MOST, URL_BYTES_MOST, Listening
from service.db.bound import Bound
from service.settings import Settings
from tests.waiting import LATE_SECONDS

SECONDS = 0.3


@dataclass
class Client:
    """A connection to the service, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def sends(self, *parts: bytes) -> None:
        """Send; what the other side has closed takes no more."""
        try:
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()
        except ConnectionError:
            return

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(LATE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in head[1:] if line)
            return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers[b"content-length"]))

    async def refused(self, status: int) -> None:
        """The answer is this problem, and the last one."""
        got, headers, body = await self.answer()
        assert got == status, body
        assert headers[b"content-type"] == b"application/problem+json"
        assert headers[b"connection"] == b"close"
        assert json.loads(body).keys() == {"type", "title", "status", "detail", "instance"}
        assert await self.is_closed()

    async def is_closed(self) -> bool:
        """Whether the other side closes without another word."""
        async with asyncio.timeout(LATE_SECONDS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[int]:
    """The port on which an application is served."""
    config = Config(app, http=Listening, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False)
    config.load()
    state = ServerState()

    def made() -> Listening:
        return Listening(config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()


@pytest.fixture
async def port(settings: Settings, database: Bound) -> AsyncIterator[int]:
    """The service on a port, which waits for a head not longer than `SECONDS`."""
    async with served(create_app(settings.model_copy(update={"body_seconds": SECONDS}), database)) as found:
        yield found


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A connection."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    yield client
    client.writer.transport.abort()


LIVE = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_requests_follow_each_other_on_one_connection(port: int) -> None:
    async with connected(port) as client:
        for _ in range(3):
            await client.sends(LIVE)
            assert (await client.answer())[0] == 200
        await client.sends(LIVE + LIVE)
        assert [(await client.answer())[0] for _ in range(2)] == [200, 200]


async def test_a_head_may_come_in_pieces(port: int) -> None:
    async with connected(port) as client:
        await client.sends(*(bytes([byte]) for byte in LIVE))
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize(("size", "status"), [(URL_BYTES_MOST - 100, 404), (URL_BYTES_MOST + 1, 414), (64 * 1024, 414)])
async def test_the_length_of_a_url(port: int, size: int, status: int) -> None:
    async with connected(port) as client:
        await client.sends(b"GET /nothing?" + b"q" * size + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        if status == 404:
            assert (await client.answer())[0] == status
        else:
            await client.refused(status)


@pytest.mark.parametrize(
    "headers",
    [b"a: " + b"x" * HEAD_BYTES_MOST + b"\r\n", b"a: b\r\n" * (HEADERS_MOST + 1)],
    ids=["large", "many"],
)
async def test_too_many_headers(port: int, headers: bytes) -> None:
    async with connected(port) as client:
        await client.sends(b"GET /livez HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n")
        await client.refused(431)


async def test_a_head_without_end_is_not_read_on(port: int) -> None:
    async with connected(port) as client:
        await client.sends(b"GET /livez HTTP/1.1\r\na: ", *[b"x" * 1000] * 100)
        await client.refused(431)


async def test_a_head_that_doesnt_arrive(port: int) -> None:
    began = monotonic()
    async with connected(port) as client:
        await client.sends(b"GET /livez HT")
        await client.refused(408)
    assert monotonic() - began > SECONDS * 0.9


async def test_a_head_that_drips(port: int) -> None:
    """A byte now and then wins no time."""
    began, sent = monotonic(), 0
    async with connected(port) as client:
        answer = asyncio.ensure_future(client.answer())
        while not answer.done() and sent < len(LIVE) - 1:
            await client.sends(LIVE[sent : sent + 1])
            sent += 1
            await asyncio.wait([answer], timeout=0.05)
        assert (await answer)[0] == 408
    assert sent < len(LIVE) - 1
    assert monotonic() - began > SECONDS * 0.9


async def test_a_second_head_that_doesnt_arrive(port: int) -> None:
    async with connected(port) as client:
        await client.sends(LIVE)
        assert (await client.answer())[0] == 200
        await client.sends(LIVE[:10])
        await client.refused(408)


async def test_a_connection_on_which_nothing_comes_is_closed(port: int) -> None:
    async with connected(port) as client:
        assert await client.is_closed()


async def test_what_is_no_http(port: int) -> None:
    async with connected(port) as client:
        await client.sends(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, for example\r\n\r\n")
        await client.refused(400)


POST = b"POST /v1/authors HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


async def test_the_rest_of_a_refused_body_is_let_pass(port: int) -> None:
    """A client that sends all of it before it reads gets its answer, and may go on."""
    size = 10_000_000
    async with connected(port) as client:
        await client.sends(POST % size, *[b"x" * 100_000] * (size // 100_000))
        status, _, body = await client.answer()
        assert (status, json.loads(body)["type"]) == (413, "/problems/body-too-large")
        await client.sends(LIVE)
        assert (await client.answer())[0] == 200


async def test_but_not_all_of_it(settings: Settings, database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much time there is."""
    monkeypatch.setattr(listening, "REST_BYTES_MOST", 1_000_000)
    patient = create_app(settings.model_copy(update={"body_seconds": 60.0}), database)
    async with served(patient) as port, connected(port) as client:
        await client.sends(POST % 100_000_000, *[b"x" * 100_000] * 100)
        assert await _ends(client)


async def test_nor_for_ever(port: int) -> None:
    async with connected(port) as client:
        await client.sends(POST % 100_000_000, b"x")
        assert (await client.answer())[0] == 413
        await client.sends(b"x")
        assert await client.is_closed()


async def _ends(client: Client) -> bool:
    """Whether the connection ends, whatever was answered before."""
    async with asyncio.timeout(LATE_SECONDS):
        try:
            await client.reader.read()
        except ConnectionError:
            return True
        return client.reader.at_eof()
