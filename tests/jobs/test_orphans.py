"""Jobs whose worker has died, or whose message was lost: they go on before what is new, however much of that waits."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db import Database
from service.db.bound import Bound
from service.jobs import transitions
from service.jobs.handing import Handing, forget, named, queue
from service.jobs.job import enqueue, job
from service.jobs.running import Run
from service.jobs.slots import Slots
from service.jobs.transitions import Claim
from tests.fixtures.servers import Servers
from tests.waiting import until

WAITING = 20
LATER = text("UPDATE shelfmark_jobs SET due_at = clock_timestamp() - make_interval(secs => 1) WHERE id = :id")
SOONER = text("UPDATE shelfmark_jobs SET due_at = clock_timestamp() - make_interval(mins => 1) WHERE NOT handed AND claim = 0")
EXPLAIN = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "
BACKLOG = text("""
INSERT INTO shelfmark_jobs (name, attempts, lease, due_at)
SELECT 'test.nothing', 5, 30, clock_timestamp() - make_interval(secs => number) FROM generate_series(1, :jobs) AS number
""")


@job(name="test.nothing")
async def nothing(run: Run) -> None:
    """Does nothing."""


async def one_handed_out(database: Bound) -> Claim:
    """The claim of a job that was handed out."""
    async with database.writing() as unit:
        await enqueue(nothing)
        (claim,) = await transitions.hand_out(unit.session, 1, room=1)
    return claim


async def overdue_behind_others(database: Bound, claim: Claim) -> None:
    """Let a job's time be over, while others wait that have waited for longer."""
    async with database.writing() as unit:
        for _ in range(WAITING):
            await enqueue(nothing)
        await unit.session.execute(SOONER)
        await unit.session.execute(LATER, {"id": claim[0]})


async def handed_out(database: Bound, room: int) -> list[Claim]:
    """What is handed out next."""
    async with database.writing() as unit:
        return list(await transitions.hand_out(unit.session, WAITING, room=room))


async def test_an_orphan_goes_first(database: Bound) -> None:
    claim = await one_handed_out(database)
    async with database.writing() as unit:
        assert await transitions.start(unit.session, claim)
    await overdue_behind_others(database, claim)
    assert await handed_out(database, room=0) == [(claim[0], claim[1] + 1)]


async def test_a_job_whose_message_was_lost_goes_first(database: Bound) -> None:
    claim = await one_handed_out(database)
    await overdue_behind_others(database, claim)
    assert (claim[0], claim[1] + 1) in await handed_out(database, room=1)


async def test_what_is_new_goes_as_far_as_there_is_room(database: Bound) -> None:
    claim = await one_handed_out(database)
    await overdue_behind_others(database, claim)
    assert len(await handed_out(database, room=3)) == 4
    assert await handed_out(database, room=0) == []


async def test_a_long_backlog_isnt_read(database: Bound) -> None:
    """It is behind an index, which the planner has to choose although it can't know how little is wanted of it."""
    values: dict[str, Any] = {"most": 20, "room": 6, "seconds": 1.0, "alive": 1.0, "lost": "", "died": ""}
    async with database.writing() as unit:
        await unit.session.execute(BACKLOG, {"jobs": 20_000})
        await unit.session.execute(text("ANALYZE shelfmark_jobs"))
        found = (await unit.session.execute(text(EXPLAIN + transitions.HAND_OUT.text), values)).scalar_one()
    assert max(rows_of(found[0]["Plan"])) <= values["most"]


def rows_of(plan: dict[str, Any]) -> Iterator[float]:
    """How many rows each part of a plan gave."""
    yield plan["Actual Rows"]
    for part in plan.get("Plans", []):
        yield from rows_of(part)


@pytest.fixture
async def bells(servers: Servers) -> AsyncIterator[ArqRedis]:
    """A queue of the test's own."""
    made = queue(servers.redis, f"shelfmark:jobs:{uuid4().hex}")
    yield made
    await made.aclose(close_connection_pool=True)


@pytest.fixture
async def handing(servers: Servers, bells: ArqRedis) -> AsyncIterator[Handing]:
    """What hands out."""
    made = Handing(lambda: queue(servers.redis, bells.default_queue_name))
    yield made
    await made.aclose()


async def rung(handing: Handing, committed: Database, engine: AsyncEngine, bells: ArqRedis) -> str:
    """The message of a job that was handed out, to a worker that never hears of it."""
    await Slots(committed, {}, 1).beat()
    async with committed.writing():
        claim = await enqueue(nothing), 1
    async with engine.connect() as connection:
        await handing.step(connection)
    assert await waits(bells, named(bells, claim))
    return named(bells, claim)


async def waits(bells: ArqRedis, message: str) -> bool:
    """Whether a message waits to be picked up."""
    there = await bells.zscore(bells.default_queue_name, message) is not None
    return there and not await bells.exists(in_progress_key_prefix + message)


async def until_rung_again(handing: Handing, engine: AsyncEngine, bells: ArqRedis, message: str) -> None:
    """Go on handing out, until the same message waits to be picked up."""

    async def rings() -> bool:
        await handing.step(connection)
        return await waits(bells, message)

    async with engine.connect() as connection:
        await until(rings)


async def test_what_redis_has_lost_is_rung_again(
    handing: Handing, committed: Database, engine: AsyncEngine, bells: ArqRedis
) -> None:
    message = await rung(handing, committed, engine, bells)
    await forget(bells, message)
    await until_rung_again(handing, engine, bells, message)


async def test_what_a_worker_has_picked_up_and_lost_is_rung_again(
    handing: Handing, committed: Database, engine: AsyncEngine, bells: ArqRedis
) -> None:
    message = await rung(handing, committed, engine, bells)
    await bells.set(in_progress_key_prefix + message, b"1")
    await until_rung_again(handing, engine, bells, message)
