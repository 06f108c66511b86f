"""F14, jobs: workers and relays whose clock is off hand out, run, wait and take over by the clock of the database."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.db.storms import watching
from tests.faults import machine
from tests.faults.figures import FAKETIME, Figures, fault
from tests.faults.postgres import own_postgres, prepared
from tests.faults.redis import own_redis
from tests.faults.walls import LEASE_SECONDS, Order, order_all
from tests.faults.workforce import Workforce, orphans_waited, with_walls, workforce
from tests.waiting import until

JOBS, LATER_SECONDS, AGAIN_SECONDS, LONG_SECONDS = 40, 5.0, 2.0, 120.0
LONG = Order(wall="long", stones=60, pause=0.1)
HOLDERS = text("""
SELECT process_id FROM hands JOIN shelfmark_jobs AS job ON id = job_id AND job.claim = hands.claim WHERE state = 'running'
""")
OPEN = text("SELECT count(*) FROM shelfmark_jobs WHERE state IN ('queued', 'running')")
LATE = text("""
SELECT CAST(extract(epoch FROM min(begun.at) - job.created_at) AS float8)
FROM begun JOIN shelfmark_jobs AS job ON id = job_id WHERE id = :id GROUP BY id
""")
FOUND = text("""
SELECT (SELECT sum(stones) FROM orders), (SELECT count(DISTINCT (wall, place)) FROM stones), (SELECT count(*) FROM stones),
  (SELECT count(*) FROM shelfmark_jobs WHERE state <> 'done')
""")


@pytest.mark.slow
@fault(
    "F14, jobs",
    done=f"one of two workers, and a relay, have another clock than the database; {JOBS} jobs, one that is to wait for "
    f"{LATER_SECONDS:g} s, and one whose worker with the other clock is killed (kill -9)",
    holds=f"all are done, each chunk once; the late one begins {LATER_SECONDS:g} s later, and at most {AGAIN_SECONDS:g} s after "
    f"that; the orphan runs again within its lease ({LEASE_SECONDS:g} s) and {AGAIN_SECONDS:g} s",
    needs=FAKETIME,
)
@pytest.mark.parametrize("clock", ["+1h", "-1h", "+25h"])
async def test_clocks_of_workers_are_off(clock: str, figures: Figures) -> None:
    with own_postgres() as postgres, own_redis() as redis, machine.watched() as watched:
        await prepared(postgres)
        async with watching(postgres.url) as connection, workforce(postgres.url, redis.url, relays=1, clocks=[clock]) as force:
            await with_walls(connection)
            await order_all(postgres.url, [LONG])
            await until(lambda: _runs(force, connection), LONG_SECONDS)
            async with workforce(postgres.url, redis.url):
                orders = [Order(wall=uuid4().hex, stones=5) for _ in range(JOBS)]
                *_, later = await order_all(postgres.url, [*orders, Order(wall="later", stones=1, after=LATER_SECONDS)])
                await asyncio.sleep(LATER_SECONDS / 5)
                assert await force.kill_worker(force.workers[0], connection)
                await until(lambda: _none_open(connection), LONG_SECONDS)
            waited, late = await orphans_waited(connection, watched), float(await connection.scalar(LATE, {"id": later}) or 0)
            stones, there, laid, undone = (await connection.execute(FOUND)).one()
    figures.tell(f"{stones} chunks ordered, {there} there, {laid} effects, {undone} jobs not done")
    figures.tell(f"the late one began {late:.2f} s after it was asked for; {waited.in_words()}")
    assert (there, laid, undone) == (stones, stones, 0)
    assert LATER_SECONDS <= late <= LATER_SECONDS + AGAIN_SECONDS
    assert waited.longest <= LEASE_SECONDS + AGAIN_SECONDS


async def _runs(force: Workforce, connection: AsyncConnection) -> bool:
    """Whether the worker whose clock is off runs a job."""
    return any(force.workers[0].has(holder) for holder in await connection.scalars(HOLDERS))


async def _none_open(connection: AsyncConnection) -> bool:
    return not await connection.scalar(OPEN)
