"""Clients that read and write one after the other, and what they were told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

from httpx import AsyncClient, HTTPError
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.fixtures.keys import ADMIN, bearer

PAUSE_SECONDS = 0.005
BROKEN = 0
DONE = {200, 201}


@dataclass(frozen=True)
class Answer:
    """What a client was told.

    Attributes:
        kind: `read` or `write`.
        status: 0 where the connection to the service broke.
        began: when it asked, on the monotonic clock.
        ended: when it was told.
        may_return: whether a refusal said when to come again.
        problem: the refusal's type; empty where it was none.
    """

    kind: str
    status: int
    began: float
    ended: float
    may_return: bool = False
    problem: str = ""

    @property
    def took(self) -> float:
        """Seconds."""
        return self.ended - self.began


@dataclass
class Told:
    """All answers, and the titles of the books whose writing was acknowledged."""

    answers: list[Answer] = field(default_factory=list, repr=False)
    written: list[str] = field(default_factory=list, repr=False)

    def statuses(self, kind: str, since: float = 0.0) -> Counter[int]:
        """How many of each status there were."""
        return Counter(one.status for one in self.answers if one.kind == kind and one.ended >= since)

    def refused(self, kind: str, since: float = 0.0) -> list[Answer]:
        """Those that weren't done."""
        return [one for one in self.answers if one.kind == kind and one.status not in DONE and one.ended >= since]

    def longest(self, kind: str) -> float:
        """Seconds."""
        return max(one.took for one in self.answers if one.kind == kind)

    def first_done(self, since: float) -> float:
        """Seconds from a moment to the first success of something that was asked after it."""
        return min(one.ended for one in self.answers if one.status in DONE and one.began >= since) - since

    def last_refused(self, since: float) -> float:
        """Seconds from a moment to the last refusal; 0 where there was none."""
        return max((one.ended for one in self.answers if one.status not in DONE and one.ended >= since), default=since) - since

    def in_words(self) -> str:
        """How often what was answered."""
        words = [f"{kind}s {_counted(self.statuses(kind))}" for kind in ("read", "write")]
        return ", ".join(words)


def _counted(statuses: Counter[int]) -> str:
    return " + ".join(f"{number:,} x {status or 'broken'}" for status, number in sorted(statuses.items()))


@asynccontextmanager
async def load(base: str, readers: int = 8, writers: int = 4, pause: float = PAUSE_SECONDS) -> AsyncIterator[Told]:
    """So many clients at work, for as long as the block lasts; what they asked last is answered before it ends.

    Args:
        base: the service's address.
        readers: clients that read.
        writers: clients that write.
        pause: seconds that each waits between an answer and the next request.
    """
    told, over = Told(), asyncio.Event()
    async with AsyncClient(base_url=base, headers=bearer(ADMIN), timeout=60.0) as client:
        author = await author_of(client)
        tasks = [asyncio.create_task(_read(client, told, over, pause)) for _ in range(readers)]
        tasks += [asyncio.create_task(_write(client, told, over, pause, author)) for _ in range(writers)]
        try:
            yield told
        finally:
            over.set()
            await asyncio.gather(*tasks)


async def author_of(client: AsyncClient) -> int:
    """An author to write books of: nothing about a book is unique, so one that was written twice is there twice."""
    made = await client.post("/v1/authors", json={"name": uuid4().hex})
    return int(made.raise_for_status().json()["id"])


async def _read(client: AsyncClient, told: Told, over: asyncio.Event, pause: float) -> None:
    while not over.is_set():
        told.answers.append(await _ask(client, "read"))
        await asyncio.sleep(pause)


async def _write(client: AsyncClient, told: Told, over: asyncio.Event, pause: float, author: int) -> None:
    while not over.is_set():
        book: dict[str, object] = {"title": uuid4().hex, "author_id": author}
        answer = await _ask(client, "write", book)
        told.answers.append(answer)
        if answer.status in DONE:
            told.written.append(str(book["title"]))
        await asyncio.sleep(pause)


async def _ask(client: AsyncClient, kind: str, book: dict[str, object] | None = None) -> Answer:
    began = monotonic()
    try:
        if book is None:
            found = await client.get("/v1/authors?limit=5")
        else:
            found = await client.post("/v1/books", json=book)
    except HTTPError:
        return Answer(kind, BROKEN, began, monotonic())
    problem = "" if found.status_code in DONE else str(found.json()["type"]).rpartition("/")[2]
    return Answer(kind, found.status_code, began, monotonic(), "retry-after" in found.headers, problem)


async def missing(url: str, told: Told) -> tuple[int, int]:
    """How many acknowledged rows aren't there, and how many rows are there more than once."""
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        found = Counter((await connection.scalars(text("SELECT title FROM books"))).all())
    await engine.dispose()
    return sum(found[title] == 0 for title in told.written), sum(number > 1 for number in found.values())
