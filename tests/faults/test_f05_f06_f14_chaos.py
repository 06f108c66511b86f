"""F5, F6 and F14 at once: what jobs stand on is killed at random. Every committed job is done, its effects exactly once."""

import asyncio
from dataclasses import dataclass
from time import monotonic

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.background import beside
from tests.db.storms import watching
from tests.faults import machine
from tests.faults.chaos import CLIENTS, OPEN, Asked, Chaos, watched_over
from tests.faults.figures import FAKETIME, Figures, fault
from tests.faults.postgres import own_postgres, prepared
from tests.faults.redis import own_redis
from tests.faults.walls import LEASE_SECONDS
from tests.faults.workforce import orphans_waited, with_walls, workforce
from tests.waiting import until

JOBS, SECONDS = 1000, 180.0
AGAIN_SECONDS, LAST_SECONDS = 2.0, 240.0
CLOCKS = ("", "+1h", "-1h")
ORDERED = text("SELECT wall FROM orders")
# A service asks for jobs itself, every five minutes: they are no orders.
STATES = text("SELECT state, count(*) FROM shelfmark_jobs WHERE name = 'test.wall' GROUP BY state")
UNASKED = text("""
SELECT count(*) FROM shelfmark_jobs
WHERE name = 'test.wall' AND NOT EXISTS (SELECT FROM orders WHERE job_id = shelfmark_jobs.id)
""")
MISSING = text("""
SELECT count(*) FROM orders CROSS JOIN LATERAL generate_series(0, orders.stones - 1) AS place
WHERE NOT EXISTS (SELECT FROM stones WHERE stones.wall = orders.wall AND stones.place = place)
""")
TWICE = text("SELECT count(*) FROM (SELECT FROM stones GROUP BY wall, place HAVING count(*) > 1) AS found")
STRAY = text("SELECT count(*) FROM stones WHERE NOT EXISTS (SELECT FROM orders WHERE orders.wall = stones.wall)")
LAID = text("SELECT count(*) FROM stones")
MOST = text("SELECT max(claim), max(failures) FROM shelfmark_jobs")
UNNUMBERED = text("SELECT count(*) FILTER (WHERE number IS NULL), count(*) - count(DISTINCT number) FROM shelfmark_outbox")


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """For how long it goes on."""
    return float(request.config.getoption("--chaos-seconds", default=SECONDS))


@pytest.mark.slow
@fault(
    "F5, F6, F14: chaos",
    done=f"{JOBS:,} jobs and more, of 5 to 20 chunks each, on two workers, two relays and two web processes that take orders, each "
    "with a clock that is right, or an hour off; for 3 minutes they are killed (kill -9) at random, Redis is killed and emptied, "
    "connections to the database are terminated",
    holds="every committed job is done, each of its chunks exactly once; nothing of what was rolled back; none fails; a job whose "
    f"worker is killed runs again within its lease ({LEASE_SECONDS:g} s) and {AGAIN_SECONDS:g} s",
    needs=FAKETIME,
)
async def test_chaos(seconds: float, figures: Figures) -> None:
    least, asked = int(JOBS * seconds / SECONDS), Asked()
    with own_postgres() as postgres, own_redis() as redis, machine.watched() as watched:
        await prepared(postgres)
        async with watching(postgres.url) as connection, watching(postgres.url) as other:
            await with_walls(connection)
            async with workforce(postgres.url, redis.url, workers=2, relays=2, webs=2, clocks=CLOCKS) as force:
                chaos = Chaos(force, redis, connection)
                enough = monotonic() + seconds
                async with asyncio.TaskGroup() as group, beside(watched_over(asked, other), "watching"):
                    for _ in range(CLIENTS):
                        group.create_task(asked.by(force, lambda: monotonic() > enough and len(asked.kept) >= least))
                    await chaos.reign(seconds)
                    await until(lambda: len(asked.kept) >= least, LAST_SECONDS)
                calm = monotonic()
                await until(lambda: _none_open(connection), LAST_SECONDS)
            waited, found = await orphans_waited(connection, watched), await _found(connection)
    shifted = sum(post.shifted for post in force.posts)
    figures.tell(", ".join(f"{times} {what}" for what, times in sorted(chaos.done.items())))
    figures.tell(f"{shifted} processes had a clock that was an hour off")
    figures.tell(found.in_words(asked))
    figures.tell(waited.in_words())
    figures.tell(f"the last job ended {monotonic() - calm:.1f} s after the end")
    found.check(asked, least)
    assert waited.seconds
    assert waited.longest <= LEASE_SECONDS + AGAIN_SECONDS


@dataclass(frozen=True)
class Found:
    """What there is in the end.

    Attributes:
        ordered: walls whose order was committed.
        states: how many jobs are in which.
        unasked: jobs that no committed order asked for.
        missing: stones that should be there.
        twice: those that are there more than once.
        stray: those of no committed order.
        most: the highest claim and the most failures of a job.
        notes: notes of the outbox without a number, and those whose number another one has.
    """

    ordered: set[str]
    states: dict[str, int]
    unasked: int
    missing: int
    twice: int
    stray: int
    laid: int
    most: tuple[int, int]
    notes: tuple[int, int]

    def in_words(self, asked: Asked) -> str:
        """All of it, as a figure."""
        states = ", ".join(f"{jobs:,} {state}" for state, jobs in self.states.items())
        return (
            f"{len(asked.kept):,} orders acknowledged, {len(self.ordered):,} committed, {len(asked.regretted):,} rolled back, "
            f"{asked.unknown} refused or broken off; jobs: {states}, handed out {self.most[0]} times at the most; {self.laid:,} "
            f"chunks, {self.missing} missing, {self.twice} twice, {self.stray} of nobody's"
        )

    def check(self, asked: Asked, least: int) -> None:
        """Compare it with what must be."""
        assert asked.kept <= self.ordered
        assert not asked.regretted & self.ordered
        assert self.states == {"done": len(self.ordered)}
        assert (self.unasked, self.missing, self.twice, self.stray) == (0, 0, 0, 0)
        assert self.notes == (0, 0)
        assert len(self.ordered) >= least
        assert asked.regretted


async def _found(connection: AsyncConnection) -> Found:
    async def number(statement: TextClause) -> int:
        return int(await connection.scalar(statement) or 0)

    async def pair(statement: TextClause) -> tuple[int, int]:
        one, other = (await connection.execute(statement)).one()
        return one, other

    return Found(
        ordered=set(await connection.scalars(ORDERED)),
        states={str(state): int(jobs) for state, jobs in await connection.execute(STATES)},
        unasked=await number(UNASKED),
        missing=await number(MISSING),
        twice=await number(TWICE),
        stray=await number(STRAY),
        laid=await number(LAID),
        most=await pair(MOST),
        notes=await pair(UNNUMBERED),
    )


async def _none_open(connection: AsyncConnection) -> bool:
    return not await connection.scalar(OPEN)
