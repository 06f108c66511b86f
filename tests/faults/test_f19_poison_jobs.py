"""F19: jobs that can't be done. Each ends in a state that says why, and the others go on."""

from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.db.storms import watching
from tests.faults.figures import Figures, fault
from tests.faults.postgres import own_postgres, prepared
from tests.faults.redis import own_redis
from tests.faults.walls import Order, order_all
from tests.faults.workforce import Workforce, with_walls, workforce
from tests.waiting import until

JOBS, ATTEMPTS, LONG_SECONDS = 100, 3, 180.0
DEADLY = "one that kills its worker"
ADD = text("""
INSERT INTO shelfmark_jobs (name, args, attempts, lease) VALUES (:name, CAST(:args AS jsonb), :attempts, 3) RETURNING id
""")
ENDED = text("SELECT count(*) FROM shelfmark_jobs WHERE state NOT IN ('queued', 'running')")
OTHERS = text("SELECT count(*) FILTER (WHERE state = 'done') FROM shelfmark_jobs WHERE name = 'test.wall' AND NOT id = ANY (:ids)")
HOW = text("SELECT state, error, failures FROM shelfmark_jobs WHERE id = :id")
POISONS = {
    "one that raises": ("test.poison", '{"deadly": false}', "ValueError: This can't be done.", ATTEMPTS),
    DEADLY: ("test.poison", '{"deadly": true}', "That was the last of its attempts.", ATTEMPTS),
    "a function that nobody knows": ("test.unknown", "{}", "This worker knows no job test.unknown.", ATTEMPTS),
    "arguments of another type": ("test.wall", '{"wall": 7, "stones": []}', "can't be read by this version of test.wall", 1),
    "arguments that are missing": ("test.wall", "{}", "can't be read by this version of test.wall", 1),
    "arguments that are no object": ("test.wall", "[1]", "can't be read by this version of test.wall", 1),
}
"""Name -> the job's name, its arguments, what its error must say, and how many failures are counted."""


@pytest.mark.slow
@fault(
    "F19",
    done=f"among {JOBS} jobs there is one that raises, one that kills its worker (kill -9), one that nobody knows, and three whose "
    "arguments don't decode",
    holds="each of those ends as failed, after its attempts or at once, with its reason; the others are done",
)
async def test_poison(figures: Figures) -> None:
    with own_postgres() as postgres, own_redis() as redis:
        await prepared(postgres)
        async with watching(postgres.url) as connection, workforce(postgres.url, redis.url, workers=2) as force:
            await with_walls(connection)
            ids = {what: await _added(connection, *POISONS[what][:2]) for what in POISONS if what != DEADLY}
            await _ordered(postgres.url)
            await until(lambda: _has_failed(connection, ids["one that raises"]), LONG_SECONDS)  # or it may die with the deadly one
            ids[DEADLY] = await _added(connection, *POISONS[DEADLY][:2])
            await _ordered(postgres.url)
            await until(lambda: _all_ended(force, connection), LONG_SECONDS)
            found = {what: (await connection.execute(HOW, {"id": id_})).one() for what, id_ in ids.items()}
            done = await connection.scalar(OTHERS, {"ids": list(ids.values())})
            deaths = sum(worker.deaths for worker in force.workers)
    for what, (state, error, failures) in found.items():
        figures.tell(f"{what}: {state}, failures counted: {failures}; {error}")
    figures.tell(f"{done} of {JOBS} others done; {deaths} workers died of it, and were begun again")
    for what, (_, _, said, counted) in POISONS.items():
        state, error, failures = found[what]
        assert state == "failed"
        assert said in error
        assert failures == counted
    assert done == JOBS
    assert deaths == ATTEMPTS


async def _ordered(url: str) -> None:
    """Order half of the jobs."""
    await order_all(url, [Order(wall=uuid4().hex, stones=3) for _ in range(JOBS // 2)])


async def _has_failed(connection: AsyncConnection, id_: int) -> bool:
    return bool((await connection.execute(HOW, {"id": id_})).one().state == "failed")


async def _added(connection: AsyncConnection, name: str, args: str) -> int:
    return int(await connection.scalar(ADD, {"name": name, "args": args, "attempts": ATTEMPTS}) or 0)


async def _all_ended(force: Workforce, connection: AsyncConnection) -> bool:
    """Whether every job has ended; workers that died are begun again, as whatever supervises them does."""
    for worker in force.workers:
        if not worker.lives():
            await worker.begin_again()
    return int(await connection.scalar(ENDED) or 0) == JOBS + len(POISONS)
