"""F5: Redis lost while a thousand jobs wait. PostgreSQL has them: all are done, each of their effects once."""

import asyncio
from functools import partial
from time import monotonic
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.db.storms import watching
from tests.faults.figures import Figures, fault
from tests.faults.postgres import own_postgres, prepared
from tests.faults.redis import OwnRedis, own_redis
from tests.faults.walls import Order, order_all
from tests.faults.workforce import with_walls, workforce
from tests.waiting import until

JOBS, STONES = 1000, 2
AWAY_SECONDS, AGAIN_SECONDS, LONG_SECONDS = 2.0, 4.0, 240.0
ENDED = text("SELECT count(*) FROM shelfmark_jobs WHERE state NOT IN ('queued', 'running')")
DONE = text("SELECT count(*) FILTER (WHERE state = 'done'), count(*), max(claim) FROM shelfmark_jobs")
BEGUN = text("SELECT count(*) FROM begun")
LAID = text("SELECT count(DISTINCT (wall, place)), count(*) FROM stones")


async def lost(how: str, redis: OwnRedis, connection: AsyncConnection) -> float:
    """Have Redis lose all that it has; seconds from when it was there again until the next job began."""
    if how == "killed":
        redis.suffer("killed")
        await asyncio.sleep(AWAY_SECONDS)
        await asyncio.to_thread(redis.recover, "killed")
    else:
        await redis.forget()
    begun, back = await connection.scalar(BEGUN), monotonic()

    async def goes_on() -> bool:
        return bool(await connection.scalar(BEGUN) != begun)

    await until(goes_on, LONG_SECONDS)
    return monotonic() - back


@pytest.mark.slow
@fault(
    "F5",
    done=f"Redis is killed and comes back empty {AWAY_SECONDS:g} s later, or is emptied, three times while {JOBS:,} jobs wait",
    holds=f"all jobs are done, each of their chunks exactly once; the next one begins within {AGAIN_SECONDS:g} s of its return",
)
@pytest.mark.parametrize("how", ["killed", "emptied"])
async def test_redis_is_lost_while_jobs_wait(how: str, figures: Figures) -> None:
    with own_postgres() as postgres, own_redis() as redis:
        await prepared(postgres)
        async with watching(postgres.url) as connection, workforce(postgres.url, redis.url, workers=2) as force:
            await with_walls(connection)
            await order_all(postgres.url, [Order(wall=uuid4().hex, stones=STONES) for _ in range(JOBS)])
            again = []
            for jobs in (200, 400, 600):
                await until(partial(_so_many, connection, jobs), LONG_SECONDS)
                again.append(await lost(how, redis, connection))
            await until(partial(_so_many, connection, JOBS), LONG_SECONDS)
            assert all(worker.lives() for worker in force.workers)
            done, there_are, claims = (await connection.execute(DONE)).one()
            there, laid = (await connection.execute(LAID)).one()
    figures.tell(f"{done:,} of {there_are:,} jobs done, the highest claim {claims}; {there:,} chunks there, {laid:,} effects")
    figures.tell(f"the next job began {max(again):.2f} s after its return at the latest")
    assert (done, there_are) == (JOBS, JOBS)
    assert (there, laid) == (JOBS * STONES, JOBS * STONES)
    assert max(again) <= AGAIN_SECONDS


async def _so_many(connection: AsyncConnection, jobs: int) -> bool:
    return int(await connection.scalar(ENDED) or 0) >= jobs
