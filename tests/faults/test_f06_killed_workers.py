"""F6: the worker of a job killed, again and again. Another one goes on where it was, and each chunk is there exactly once."""

import asyncio
import random

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.db.storms import watching
from tests.faults import machine
from tests.faults.figures import Figures, fault
from tests.faults.postgres import own_postgres, prepared
from tests.faults.redis import own_redis
from tests.faults.walls import LEASE_SECONDS, Order, order_all
from tests.faults.workforce import Workforce, orphans_waited, with_walls, workforce
from tests.waiting import until

KILLS = 20
WALL = Order(wall="one", stones=300, pause=0.1)
AGAIN_SECONDS, LONG_SECONDS = 2.0, 120.0
HOLDER = text("""
SELECT process_id FROM hands JOIN shelfmark_jobs AS job ON id = job_id AND job.claim = hands.claim WHERE state = 'running'
""")
LAID = text("SELECT count(DISTINCT place), count(*) FROM stones")
STATE = text("SELECT state, failures, claim FROM shelfmark_jobs")


async def killed(force: Workforce, connection: AsyncConnection) -> int:
    """Kill the worker that runs the job, at some moment; how many runs were broken off by it."""
    await until(lambda: all(worker.ready for worker in force.workers), LONG_SECONDS)
    await until(lambda: connection.scalar(HOLDER), LONG_SECONDS)
    await asyncio.sleep(random.uniform(0.0, 1.0))  # noqa: S311
    holder = await connection.scalar(HOLDER)
    found = next((worker for worker in force.workers if worker.has(holder)), None)
    if found is None:
        return 0
    orphans = await force.kill_worker(found, connection)
    await found.begin()
    return orphans


@pytest.mark.slow
@fault(
    "F6",
    done=f"the worker that runs a job of {WALL.stones} chunks is killed (kill -9), {KILLS} times; another one is there",
    holds=f"each chunk is there exactly once; the job runs again within its lease ({LEASE_SECONDS:g} s) and {AGAIN_SECONDS:g} s",
)
async def test_workers_are_killed(figures: Figures) -> None:
    with own_postgres() as postgres, own_redis() as redis, machine.watched() as watched:
        await prepared(postgres)
        async with watching(postgres.url) as connection:
            await with_walls(connection)
            async with workforce(postgres.url, redis.url, workers=2) as force:
                await order_all(postgres.url, [WALL])
                kills = 0
                while kills < KILLS:
                    kills += await killed(force, connection)
                await until(lambda: _ended(connection), LONG_SECONDS)
            waited = await orphans_waited(connection, watched)
            laid, (state, failures, claims) = (await connection.execute(LAID)).one(), (await connection.execute(STATE)).one()
    figures.tell(f"{kills} kills, {claims} hand-outs, {failures} failures counted; {laid[0]} chunks there, {laid[1]} effects")
    figures.tell(waited.in_words())
    assert state == "done"
    assert tuple(laid) == (WALL.stones, WALL.stones)
    assert waited.longest <= LEASE_SECONDS + AGAIN_SECONDS


async def _ended(connection: AsyncConnection) -> bool:
    return (await connection.execute(STATE)).one().state in {"done", "failed", "cancelled"}
