"""Many streams at once: what they cost the database, how they are told, and what becomes of them when the process ends."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import NullPool, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.db import Database
from service.db.bound import Bound
from service.errors import Unavailable
from service.http import following
from service.http.following import Following
from service.jobs.rows import JobRow
from service.jobs.watching import Changes
from tests.faults.served import served
from tests.fixtures.keys import ADMIN, bearer
from tests.http.streams import listening
from tests.http.test_jobs import JOBS, asked
from tests.waiting import until

MANY, JOBS_OF_MANY, TOGETHER = 500, 50, 10
OTHERS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
LOOKS = 20


async def pools(client: AsyncClient) -> dict[str, float]:
    """How many connections of each pool are in use."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    return {
        sample.labels["pool"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "shelfmark_pool_busy"
    }


@asynccontextmanager
async def stream(port: int, id_: int) -> AsyncIterator[asyncio.StreamReader]:
    """A stream over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {JOBS}/{id_}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer(ADMIN)['Authorization']}\r\n\r\n".encode()
    )
    try:
        yield reader
    finally:
        writer.close()


async def told(readers: Sequence[asyncio.StreamReader], words: bytes) -> None:
    """Wait until every stream has told something."""
    async with asyncio.timeout(30):
        await asyncio.gather(*(reader.readuntil(words) for reader in readers))


async def jobs_of(connection: AsyncConnection, number: int) -> list[int]:
    """So many jobs that nobody runs."""
    added = text(
        "INSERT INTO shelfmark_jobs (name, attempts, lease) SELECT 'test.wait', 1, 30 FROM generate_series(1, :number) RETURNING id"
    )
    return list((await connection.execute(added, {"number": number})).scalars())


async def test_many_streams_hold_no_connection(own_database: str) -> None:
    """In the process of a real server: 500 streams, and each of its pools is as free as if there were none."""
    engine = create_async_engine(own_database, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    limits = {"SHELFMARK_STREAMS_MOST_EACH": str(MANY)}
    async with engine.connect() as connection, AsyncExitStack() as open_until_then:
        ids = await jobs_of(connection, JOBS_OF_MANY)
        serving = open_until_then.enter_context(served(own_database, **limits))
        client = await open_until_then.enter_async_context(AsyncClient(base_url=serving.base, headers=bearer(ADMIN)))
        before = await connection.scalar(OTHERS)
        readers: list[asyncio.StreamReader] = []
        while len(readers) < MANY:  # some at a time: a service that is asked for everything at once refuses a part of it
            some = [await open_until_then.enter_async_context(stream(serving.port, id_)) for id_ in random.sample(ids, TOGETHER)]
            await told(some, b'"state":"queued"')
            readers += some
        for _ in range(LOOKS):
            found = await pools(client)
            assert (found["reads"], found["writes"]) == (0, 0)
            assert await connection.scalar(OTHERS) <= before
        await connection.execute(text("UPDATE shelfmark_jobs SET message = 'hello'"))
        await told(readers, b'"message":"hello"')
        assert await connection.scalar(OTHERS) <= before
        serving.run.process.send_signal(signal.SIGTERM)
        await told(readers, b"\r\n0\r\n\r\n")  # the end of the answer, in order
        await until(lambda: serving.run.process.poll() is not None)
        assert serving.run.process.returncode == 0, serving.run.said()
    await engine.dispose()


class Counting(Changes):
    """Counts how often is looked."""

    def __init__(self) -> None:
        super().__init__(["id", "state"])
        self.looks: list[int] = []
        self.away = False

    async def since(self, session, known):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Look."""
        self.looks.append(len(known))
        if self.away:
            raise Unavailable("It is away.")
        return await super().since(session, known)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
async def test_all_jobs_are_looked_at_together(app: FastAPI, database: Bound) -> None:
    counting = Counting()
    follows = Following(database, counting, app.state.traffic)
    ids = [await asked(database) for _ in range(3)]
    found = [await follows.find(id_) for id_ in (*ids, ids[0])]
    counting.looks.clear()
    async with AsyncExitStack() as following_them:
        followed = [following_them.enter_context(follows.follow(seen)) for seen in found if seen]
        assert followed[0] is followed[3]
        assert len(follows) == 3
        await until(lambda: counting.looks)
        async with database.writing() as unit:
            await unit.session.execute(update(JobRow).where(JobRow.id == ids[1]).values(message="hello"))
        await followed[1].changed
        assert not followed[0].changed.done()
        assert set(counting.looks) == {3}
    await until(lambda: not follows.looks)
    assert len(follows) == 0


async def test_who_comes_later_and_knows_more_tells_the_others(app: FastAPI, database: Bound) -> None:
    """The next look finds nothing that is newer."""
    follows = Following(database, Counting(), app.state.traffic)
    id_ = await asked(database)
    before = await follows.find(id_)
    async with database.writing() as unit:
        await unit.session.execute(update(JobRow).where(JobRow.id == id_).values(message="hello"))
    after = await follows.find(id_)
    assert before
    assert after
    with follows.follow(before) as followed:
        changed = followed.changed
        with follows.follow(after):
            assert changed.done()
        assert followed.seen == after
    await follows.aclose()


@pytest.mark.usefixtures("quick")
async def test_a_database_that_was_away_is_asked_again(app: FastAPI, database: Bound) -> None:
    counting = Counting()
    follows = Following(database, counting, app.state.traffic)
    seen = await follows.find(await asked(database))
    assert seen
    with follows.follow(seen) as followed:
        counting.away = True
        await until(lambda: len(counting.looks) > 3)
        counting.away = False
        async with database.writing() as unit:
            await unit.session.execute(update(JobRow).values(message="hello"))
        await followed.changed
        assert followed.seen.version > seen.version
    await until(lambda: not follows.looks)


async def test_the_end_of_the_application_ends_the_look(app: FastAPI, database: Bound) -> None:
    id_ = await asked(database)
    async with listening(app, f"{JOBS}/{id_}/events", bearer(ADMIN)) as one:
        await until(lambda: one.events)
        assert app.state.following.looks
        await app.state.following.aclose()
        assert not app.state.following.looks


async def test_nobody_looks_where_nobody_follows(committed: Database, app: FastAPI) -> None:
    follows = Following(committed, Counting(), app.state.traffic)
    assert await follows.find(7) is None
    assert not follows.looks
    await follows.aclose()
