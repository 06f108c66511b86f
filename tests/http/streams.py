"""A client that reads a stream as it comes: httpx would wait for its end."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.types import Message

from tests.waiting import until


@dataclass
class Listener:
    """Whoever reads a stream.

    Attributes:
        heard: what was sent so far.
        reads: is cleared while the client reads nothing.
    """

    heard: list[Message] = field(default_factory=list)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None
    _asked: bool = False

    async def receive(self) -> Message:
        """A request without a body; then, some time, its end."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Read a part of the answer."""
        await self.reads.wait()
        self.heard.append(message)

    @property
    def status(self) -> int:
        """The answer's."""
        return int(self.heard[0]["status"]) if self.heard else 0

    @property
    def headers(self) -> dict[str, str]:
        """The answer's."""
        return {name.decode(): value.decode() for name, value in self.heard[0]["headers"]}

    @property
    def body(self) -> str:
        """What came so far."""
        return b"".join(message.get("body", b"") for message in self.heard[1:]).decode()

    @property
    def ended(self) -> bool:
        """Whether the service has ended the answer."""
        return bool(self.heard[1:]) and not self.heard[-1].get("more_body")

    @property
    def events(self) -> list[tuple[int, dict[str, Any]]]:
        """The events that came, with their ids."""
        blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in self.body.split("\n\n") if "data: " in block]
        return [(int(block["id"]), json.loads(block["data"])) for block in blocks]

    @property
    def states(self) -> list[str]:
        """The states that were told."""
        return [job["state"] for _, job in self.events]


@asynccontextmanager
async def listening(app: FastAPI, path: str, headers: Mapping[str, str], method: str = "GET") -> AsyncIterator[Listener]:
    """Ask for a stream, and read it for as long as the block lasts; then leave."""
    client = Listener()
    client.reads.set()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), *((name.lower().encode(), value.encode()) for name, value in headers.items())],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    client.task = asyncio.create_task(app(scope, client.receive, client.send))
    try:
        await until(lambda: client.heard or (client.task and client.task.done()))
        yield client
    finally:
        client.left.set()
        await asyncio.wait([client.task], timeout=5)
        client.task.cancel()
