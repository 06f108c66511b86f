"""F7: the service's process killed while it writes. Clients send again under the same key, and each row is there exactly once."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from httpx import AsyncClient, HTTPError, Response
from sqlalchemy import text

from tests.db.storms import watching
from tests.faults.figures import Figures, fault
from tests.faults.load import author_of
from tests.faults.postgres import own_postgres, prepared
from tests.faults.served import Serving, served
from tests.fixtures.keys import ADMIN, bearer
from tests.fixtures.processes import kill, members
from tests.waiting import until

WRITERS = 16
POINTS = 200
LATEST_SECONDS = 1.0
CREATED, RUNNING = 201, 409
REPLAYED = "idempotency-replayed"
SLOWER = ("ALTER SYSTEM SET commit_delay = 100000", "SELECT pg_reload_conf()")
"""A commit takes 100 ms longer, as where others must agree to it: so that kills meet commits too, not only what is before them."""
TITLES = text("SELECT title FROM books")


@dataclass
class Written:
    """What the clients wrote.

    Attributes:
        titles: of every book that was asked for; in the end each is to be there once.
        broken: those whose request was broken off by a kill, which haven't been asked for again yet, with their keys.
        interrupted: how many there were in all.
        acknowledged: how many were done at the first time of asking.
        ended: how those that were asked for again came out: `kept`, it had been written and the first answer came again;
            `anew`, it hadn't; `waited`, the database hadn't noticed yet that whoever wrote it was gone.
    """

    author: int
    titles: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    interrupted: int = 0
    acknowledged: int = 0
    ended: Counter[str] = field(default_factory=Counter)

    async def write(self, client: AsyncClient, title: str, key: str) -> Response:
        """Ask for a book, under a key."""
        book = {"title": title, "author_id": self.author}
        return await client.post("/v1/books", json=book, headers={"Idempotency-Key": key})


async def client_writes(client: AsyncClient, written: Written) -> None:
    """Write one book after the other, until the service is gone."""
    while True:
        title, key = uuid4().hex, uuid4().hex
        written.titles.append(title)
        try:
            answer = await written.write(client, title, key)
        except HTTPError:
            written.broken[title] = key
            return
        assert answer.status_code == CREATED, answer.text
        written.acknowledged += 1


async def client_repeats(client: AsyncClient, written: Written, title: str, key: str) -> None:
    """Ask for a book again, as a client does that was told nothing."""
    while (answer := await written.write(client, title, key)).status_code == RUNNING:
        written.ended["waited"] += 1
        await asyncio.sleep(0.05)
    assert answer.status_code == CREATED, answer.text
    written.ended["kept" if REPLAYED in answer.headers else "anew"] += 1


async def killed_once(serving: Serving, written: Written) -> None:
    """First what was broken off before; then clients write, and all of the service's processes are killed at some moment."""
    async with AsyncClient(base_url=serving.base, headers=bearer(ADMIN), timeout=30.0) as client:
        await asyncio.gather(*(client_repeats(client, written, *one) for one in written.broken.items()))
        written.broken.clear()
        if written.interrupted >= POINTS:
            return
        enough = written.acknowledged + WRITERS
        writers = [asyncio.create_task(client_writes(client, written)) for _ in range(WRITERS)]
        await until(lambda: written.acknowledged >= enough)
        await asyncio.sleep(random.uniform(0.0, LATEST_SECONDS))  # noqa: S311
        for process_id in (serving.run.process.pid, *members(serving.run.process.pid)):
            kill(process_id)
        await asyncio.gather(*writers)
    written.interrupted += len(written.broken)


async def killed_until_enough(url: str) -> tuple[Written, int]:
    """What was written, and how often the service was killed."""
    given = {"SHELFMARK_WRITE_POOL_SIZE": str(WRITERS)}
    kills = 1
    with served(url, **given) as serving:
        written = Written(await authored(serving))
        await killed_once(serving, written)
    while written.broken:
        with served(url, **given) as serving:
            await killed_once(serving, written)
        kills += bool(written.broken)
    return written, kills


async def authored(serving: Serving) -> int:
    """Somebody to write books of."""
    async with AsyncClient(base_url=serving.base, headers=bearer(ADMIN)) as client:
        return await author_of(client)


@pytest.mark.slow
@fault(
    "F7",
    done=f"the service's processes are killed (kill -9) while {WRITERS} clients write, until {POINTS} writes were broken off; each "
    "is sent again with its Idempotency-Key",
    holds="each row is there exactly once, whether or not its first request had been committed",
)
async def test_the_service_is_killed_mid_write(figures: Figures) -> None:
    with own_postgres() as postgres:
        await prepared(postgres)
        async with watching(postgres.url) as connection:
            for line in SLOWER:
                await connection.execute(text(line))
        written, kills = await killed_until_enough(postgres.url)
        async with watching(postgres.url) as connection:
            found = Counter((await connection.scalars(TITLES)).all())
    figures.tell(f"{written.interrupted} of {len(written.titles):,} writes broken off by {kills} kills, at random moments")
    figures.tell(f"{written.ended['kept']} had been committed and were answered again, {written.ended['anew']} were done anew")
    missing, twice = set(written.titles) - set(found), sum(number > 1 for number in found.values())
    figures.tell(f"{len(missing)} missing, {twice} there twice")
    assert set(found) == set(written.titles)
    assert set(found.values()) == {1}
    assert written.interrupted >= POINTS
    assert min(written.ended["kept"], written.ended["anew"]) > 0
