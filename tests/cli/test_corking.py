"""What is written arrives whole and in order, a head together with its body, and nothing is held for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.cli.corking import Corked
from tests.waiting import until

FIRST, SECOND = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"


class Counting(asyncio.Protocol):
    """The server's side of a connection, and what it writes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, corked, and count what goes out."""
        assert isinstance(transport, asyncio.Transport)
        self.writes: list[bytes] = []
        write = transport.write

        def counted(data: bytes) -> None:
            self.writes.append(data)
            write(data)

        transport.write = counted  # type: ignore[method-assign,assignment]  # to see what reaches the kernel
        self.corked = Corked(transport, asyncio.get_running_loop())


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Counting, asyncio.StreamReader]]:
    """Both ends of a connection."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Counting] = loop.create_future()

    def accept() -> Counting:
        protocol = Counting()
        made.set_result(protocol)
        return protocol

    server = await loop.create_server(accept, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    protocol = await made
    await until(lambda: hasattr(protocol, "corked"))
    yield protocol, reader
    writer.close()
    server.close()


async def test_a_head_goes_with_its_body() -> None:
    async with connected() as (server, client):
        server.corked.write(FIRST)
        server.corked.write(b"{}")
        assert server.writes == [FIRST + b"{}"]
        assert await client.readexactly(len(FIRST) + 2) == FIRST + b"{}"


@pytest.mark.parametrize("parts", [[SECOND], [FIRST, b"a", b"b"], [SECOND, FIRST, b"{}"], [b"100", FIRST], [FIRST, FIRST]])
async def test_everything_arrives_in_order(parts: list[bytes]) -> None:
    async with connected() as (server, client):
        for part in parts:
            server.corked.write(part)
        whole = b"".join(parts)
        assert await asyncio.wait_for(client.readexactly(len(whole)), 10) == whole


async def test_a_head_alone_goes_out_when_the_loop_comes_round() -> None:
    async with connected() as (server, client):
        server.corked.write(SECOND)
        assert server.writes == []
        assert await asyncio.wait_for(client.readexactly(len(SECOND)), 10) == SECOND
        server.corked.write(b"later")
        assert server.writes == [SECOND, b"later"]


async def test_nothing_is_lost_when_it_closes() -> None:
    async with connected() as (server, client):
        server.corked.write(SECOND)
        server.corked.close()
        assert await asyncio.wait_for(client.read(), 10) == SECOND
        assert server.corked.is_closing()
