"""A proxy before a server's socket, for networks as they are: slow, broken off in the middle of an answer, or silent."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

CHUNK_BYTES = 65_536
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset instead of what is left


class Proxy:
    """Passes on what comes, unless it is told otherwise.

    Attributes:
        port: where it listens, on 127.0.0.1.
        delay_seconds: by how much what comes from the server is late.
        silent: nothing is passed on in either direction, and no connection is closed.
        cut_after: bytes of the next answer after which its connection is reset, once; None: none is.
        cuts: how many connections were reset.
    """

    def __init__(self, target: Path) -> None:
        self.port = 0
        self.delay_seconds = 0.0
        self.silent = False
        self.cut_after: int | None = None
        self.cuts = 0
        self._target = target
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client with the server."""
        if self.silent:
            self._open.add(writer)
            return
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(self._target))
        self._open |= {writer, inner_writer}
        for coroutine in (self._pass(reader, inner_writer, answers=False), self._pass(inner_reader, writer, answers=True)):
            task = asyncio.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if answers and self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if self.silent:
                    continue
                if answers and self.cut_after is not None:
                    self._cut(writer, chunk[: self.cut_after])
                    return
                writer.write(chunk)
                await writer.drain()
        if not self.silent:
            writer.close()

    def _cut(self, writer: asyncio.StreamWriter, last: bytes) -> None:
        """Reset a connection after a few bytes more."""
        writer.write(last)
        found: socket.socket = writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        writer.close()
        self.cut_after = None
        self.cuts += 1

    def drop(self) -> None:
        """Close every connection."""
        for task in self._tasks:
            task.cancel()
        for writer in self._open:
            writer.close()
        self._open.clear()


@asynccontextmanager
async def proxied(target: Path) -> AsyncIterator[Proxy]:
    """A proxy before a unix socket."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = int(server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        proxy.drop()
        await server.wait_closed()
