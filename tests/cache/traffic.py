"""Writers and readers against several processes of one service, and what they saw: a `History`.

Each writer has three registers. `row`: a book whose ratings_count is its version, read by itself and in lists. `moved`: a book that
is the first author's in even versions and the second one's in odd ones, read in the lists of both. `batch`: an author whose newest
book has the version as its year; each version is a batch of its own.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import uuid4

from tests.cache.history import History, Read
from tests.fixtures.keys import ADMIN

HEADERS = f"Host: 127.0.0.1\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n"
PATIENCE_SECONDS = 10.0
BROKEN = 0
AFTER_FAILURE_SECONDS = 0.3
WRITE_PAUSE_SECONDS = 0.15


@dataclass
class Traffic(History):
    """What happens while clients are at work.

    Attributes:
        busy: somebody writes; cleared: nobody for the moment.
        hits: answers that came out of the cache.
    """

    busy: asyncio.Event = field(default_factory=asyncio.Event)
    hits: int = 0


class Caller:
    """One client's connections, one to each process: httpx would take longer than what is measured.

    Attributes:
        hit: whether the last answer came out of the cache.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self.hit = False
        self._open: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON of what one of the processes answers; `BROKEN` where none did."""
        port = random.choice(self._ports)  # noqa: S311
        content = b"" if body is None else json.dumps(body).encode()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                if port not in self._open:
                    self._open[port] = await asyncio.open_connection("127.0.0.1", port)
                reader, writer = self._open[port]
                writer.write(f"{method} {path} HTTP/1.1\r\n{HEADERS}Content-Length: {len(content)}\r\n\r\n".encode() + content)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                self.hit = "x-cache: hit" in head
                return await _answer(reader, head)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self._close(port)
            self.hit = False
            return BROKEN, None

    def close(self) -> None:
        """Close them."""
        for port in list(self._open):
            self._close(port)

    def _close(self, port: int) -> None:
        with suppress(KeyError, OSError):
            self._open.pop(port)[1].close()


async def _answer(reader: asyncio.StreamReader, head: str) -> tuple[int, Any]:
    size = next((int(line.partition(":")[2]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
    body = await reader.readexactly(size)
    return int(head.split(" ", 2)[1]), json.loads(body) if body else None


@dataclass
class Books:
    """What one writer writes.

    Attributes:
        name: of its registers.
        authors: of the book that moves.
    """

    name: str
    row: int
    alone: int
    moved: int
    authors: tuple[int, int]
    batch: int
    versions: dict[str, int] = field(default_factory=dict)

    def next(self, register: str) -> tuple[str, str, Any]:
        """What writes the next version of a register."""
        version = self.versions[register] = self.versions.get(register, 0) + 1
        if register == "row":
            return "PATCH", f"/v1/books/{self.row}", {"ratings_count": version}
        if register == "moved":
            return "PATCH", f"/v1/books/{self.moved}", {"ratings_count": version, "author_id": self.authors[version % 2]}
        return "POST", "/v1/books:batch", {"data": [{"title": "b", "author_id": self.batch, "published_year": version}]}


async def made(caller: Caller, name: str) -> Books:
    """A writer's books."""

    async def create(path: str, **values: Any) -> int:
        status, row = await caller.ask("POST", path, values)
        assert status == 201, (status, row)
        return int(row["id"])

    alone, first, second, batch = [await create("/v1/authors", name=uuid4().hex) for _ in range(4)]
    row = await create("/v1/books", title="row", author_id=alone, language=name)
    moved = await create("/v1/books", title="moved", author_id=first)
    return Books(name, row, alone, moved, (first, second), batch)


@asynccontextmanager
async def traffic(ports: Sequence[int], writers: int, readers: int) -> AsyncIterator[Traffic]:
    """So many clients at work, for as long as the block lasts."""
    history, over = Traffic(), asyncio.Event()
    history.busy.set()
    callers = [Caller(ports) for _ in range(writers + readers)]
    books = [await made(callers[number], f"w{number}") for number in range(writers)]
    tasks = [asyncio.create_task(_write(history, caller, one, over)) for caller, one in zip(callers, books, strict=False)]
    tasks += [asyncio.create_task(_read(history, caller, books, over)) for caller in callers[writers:]]
    try:
        yield history
    finally:
        over.set()
        history.busy.set()
        await asyncio.gather(*tasks)
        for caller in callers:
            caller.close()


async def _write(history: Traffic, caller: Caller, books: Books, over: asyncio.Event) -> None:
    while not over.is_set():
        for register in ("row", "moved", "batch"):
            key, (method, path, body) = f"{register} {books.name}", books.next(register)
            history.registers[key].sent.append(monotonic())
            status, _ = await caller.ask(method, path, body)
            if 200 <= status < 300:
                history.registers[key].acked.append((monotonic(), books.versions[register]))
            else:
                await asyncio.sleep(AFTER_FAILURE_SECONDS)
            await asyncio.sleep(random.random() * WRITE_PAUSE_SECONDS)  # noqa: S311
            await history.busy.wait()


async def _read(history: Traffic, caller: Caller, everybodys: Sequence[Books], over: asyncio.Event) -> None:
    while not over.is_set():
        books = random.choice(everybodys)  # noqa: S311
        key, path, seen = random.choice(_questions(books))  # noqa: S311
        began = monotonic()
        status, found = await caller.ask("GET", path)
        history.hits += caller.hit
        assert status not in {400, 404, 422}, (status, path, found)
        if status == 200:
            history.reads.append(Read(f"{key} {books.name}", began, monotonic(), seen(found), path))
        else:
            await asyncio.sleep(0.01)


Seen = Callable[[Any], Callable[[int], bool]]


def _questions(books: Books) -> list[tuple[str, str, Seen]]:
    """What may be asked: the register, the path, and which versions explain an answer."""
    first, second = books.authors
    return [
        ("row", f"/v1/books/{books.row}", lambda found: _is(found["ratings_count"])),
        ("row", f"/v1/books?author_id={books.alone}", lambda found: _is(found["data"][0]["ratings_count"])),
        ("row", f"/v1/books?language={books.name}&sort=-ratings_count", lambda found: _is(found["data"][0]["ratings_count"])),
        ("row", f"/v1/books?id__in={books.row}", lambda found: _is(found["data"][0]["ratings_count"])),
        ("moved", f"/v1/books?author_id={first}", lambda found: _there(found, 0)),
        ("moved", f"/v1/books?author_id={second}", lambda found: _there(found, 1)),
        ("batch", f"/v1/books?author_id={books.batch}&limit=1", lambda found: _is(_newest(found))),
        ("batch", f"/v1/books?author_id={books.batch}&limit=1&count=capped", lambda found: _is(_newest(found))),
    ]


def _is(version: int) -> Callable[[int], bool]:
    return lambda one: one == version


def _there(found: Any, rest: int) -> Callable[[int], bool]:
    """A list of the book that moves shows its version, or that it is elsewhere."""
    rows = found["data"]
    if not rows:
        return lambda one: one % 2 != rest
    return lambda one: one == rows[0]["ratings_count"] and one % 2 == rest


def _newest(found: Any) -> int:
    return int(found["data"][0]["published_year"]) if found["data"] else 0
