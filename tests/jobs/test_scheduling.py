"""Schedules: due by the database's clock at the times that are declared, caught up with once, fired by one relay."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import NullPool, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.db import Database
from service.errors import SetupError
from service.jobs import scheduling
from service.jobs.rows import JobRow
from service.jobs.scheduling import Schedule, Schedules, schedules
from tests.jobs.errands import write

DAY, HOUR, WEEK = timedelta(days=1), timedelta(hours=1), timedelta(days=7)
DAILY = Schedule(write, DAY, at=timedelta(hours=3), args={"names": ["daily"]})


@pytest.fixture
async def connection(committed: Database, database_url: str) -> AsyncIterator[AsyncConnection]:
    """As the relay has one: in UTC."""
    engine = create_async_engine(database_url, poolclass=NullPool, connect_args={"server_settings": {"timezone": "UTC"}})
    async with engine.connect() as made:
        yield made
    await engine.dispose()
    assert committed


async def due(connection: AsyncConnection, schedule: Schedule) -> datetime:
    """When it is due next."""
    async with connection.begin():
        found = await connection.scalar(select(schedules.c.due_at).where(schedules.c.name == schedule.name))
    assert isinstance(found, datetime)
    return found


async def moved(connection: AsyncConnection, by: timedelta) -> None:
    """All schedules are due so much earlier."""
    async with connection.begin():
        await connection.execute(update(schedules).values(due_at=schedules.c.due_at - by))


async def jobs(connection: AsyncConnection) -> list[JobRow]:
    """What was asked for."""
    async with connection.begin():
        return list(await connection.execute(select(JobRow.__table__).order_by(JobRow.id)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("every", "at"),
    [
        (DAY, timedelta(hours=3)),
        (DAY, timedelta(0)),
        (HOUR, timedelta(minutes=5)),
        (WEEK, timedelta(days=2, hours=4)),
        (timedelta(minutes=7), timedelta(0)),
        (timedelta(seconds=1), timedelta(0)),
    ],
)
async def test_the_next_time_is_the_next_one_of_those_declared(
    connection: AsyncConnection, every: timedelta, at: timedelta
) -> None:
    schedule = Schedule(write, every, at=at, args={"names": []})
    await Schedules([schedule], 7).declare(connection)
    found, now = await due(connection, schedule), datetime.now(UTC)
    assert now - timedelta(seconds=5) < found <= now + every
    assert (found - (datetime(2001, 1, 1, tzinfo=UTC) + at)) % every == timedelta(0)
    if every == WEEK:
        assert (found.weekday(), found.hour) == (2, 4)
    await moved(connection, 3 * every + timedelta(milliseconds=100))  # as after an outage, and a clock that was a bit off
    assert await Schedules([schedule], 7).fire(connection, schedule)
    found, now = await due(connection, schedule), datetime.now(UTC)
    assert now - timedelta(seconds=5) < found <= now + every
    assert (found - (datetime(2001, 1, 1, tzinfo=UTC) + at)) % every == timedelta(0)


async def test_what_was_missed_is_caught_up_with_once(connection: AsyncConnection) -> None:
    chore = Schedules([DAILY], 7)
    await chore.step(connection)
    assert await jobs(connection) == []
    await moved(connection, 5 * DAY)
    for _ in range(3):
        chore._looked = -scheduling.LOOK_SECONDS  # noqa: SLF001
        await chore.step(connection)
    (job,) = await jobs(connection)
    assert (job.name, job.key, job.attempts, job.lease) == ("test.write", "schedule:test.write", 3, 30)
    assert job.args["names"] == ["daily"]
    assert await due(connection, DAILY) > datetime.now(UTC)
    async with connection.begin():
        (row,) = await connection.execute(select(schedules))
    assert (row.job_id, row.fired_at is not None) == (job.id, True)


async def test_a_job_that_is_still_open_is_not_added_again(connection: AsyncConnection) -> None:
    chore = Schedules([DAILY], 7)
    await chore.declare(connection)
    for _ in range(2):
        await moved(connection, 2 * DAY)
        assert await chore.fire(connection, DAILY)
    (job,) = await jobs(connection)
    async with connection.begin():
        await connection.execute(text("UPDATE shelfmark_jobs SET state = 'done', finished_at = clock_timestamp()"))
    await moved(connection, 2 * DAY)
    assert await chore.fire(connection, DAILY)
    assert [one.state for one in await jobs(connection)] == ["done", "queued"]
    assert (await jobs(connection))[0].id == job.id


async def test_two_relays_fire_once(connection: AsyncConnection, importing_engine: AsyncEngine) -> None:
    chores = [Schedules([DAILY], 7) for _ in range(4)]
    await chores[0].declare(connection)
    for turn in range(5):
        await moved(connection, 2 * DAY)

        async def fire(chore: Schedules) -> bool:
            async with importing_engine.connect() as own:
                return await chore.fire(own, DAILY)

        assert sum(await asyncio.gather(*map(fire, chores))) == 1
        async with connection.begin():
            await connection.execute(text("UPDATE shelfmark_jobs SET state = 'done', finished_at = clock_timestamp()"))
        assert len(await jobs(connection)) == turn + 1


async def test_what_nobody_has_declared_is_not_fired(connection: AsyncConnection) -> None:
    await Schedules([DAILY], 7).declare(connection)
    await moved(connection, 2 * DAY)
    other = Schedule(write, HOUR, args={"names": []}, name="other")
    await Schedules([other], 7).step(connection)
    assert await jobs(connection) == []


async def test_other_times_hold_once_they_are_declared_and_what_is_due_stays_due(connection: AsyncConnection) -> None:
    await Schedules([DAILY], 7).declare(connection)
    before = await due(connection, DAILY)
    await Schedules([DAILY], 7).declare(connection)
    assert await due(connection, DAILY) == before
    later = Schedule(write, DAY, at=timedelta(hours=4), args={"names": []})
    await Schedules([later], 7).declare(connection)
    found = await due(connection, later)
    assert (found.hour, found > datetime.now(UTC)) == (4, True)
    hourly = Schedule(write, HOUR, args={"names": []})
    await Schedules([hourly], 7).declare(connection)
    assert await due(connection, hourly) <= datetime.now(UTC) + HOUR
    await moved(connection, 2 * DAY)
    chore = Schedules([DAILY], 7)
    await chore.declare(connection)  # overdue: first it is fired
    assert await due(connection, DAILY) < datetime.now(UTC)
    assert await chore.fire(connection, DAILY)
    assert (await due(connection, DAILY)).hour == 3


async def test_a_schedule_of_a_week_comes_however_often_workers_begin(connection: AsyncConnection) -> None:
    """Its times don't depend on when it was declared."""
    weekly = Schedule(write, WEEK, args={"names": []})
    await Schedules([weekly], 7).declare(connection)
    before = await due(connection, weekly)
    for _ in range(3):
        await moved(connection, timedelta(0))
        await Schedules([weekly], 7).declare(connection)
    assert await due(connection, weekly) == before
    assert before.weekday() == 0


async def test_old_jobs_and_schedules_are_deleted_now_and_then(connection: AsyncConnection) -> None:
    gone = Schedule(write, HOUR, args={"names": []}, name="gone")
    await Schedules([gone, DAILY], 7).declare(connection)
    async with connection.begin():
        await connection.execute(update(schedules).values(seen_at=func.clock_timestamp() - text("interval '8 days'")))
        ended = (
            "INSERT INTO shelfmark_jobs (name, attempts, lease, state, finished_at)"
            " VALUES ('a', 1, 3, 'done', now() - CAST(:ago AS interval))"
        )
        await connection.execute(text(ended), [{"ago": timedelta(days=8)}, {"ago": timedelta(days=6)}])
    chore = Schedules([DAILY], 7)
    chore._pruned = -scheduling.PRUNE_SECONDS  # noqa: SLF001
    await chore.step(connection)
    async with connection.begin():
        assert list(await connection.scalars(select(schedules.c.name))) == ["test.write"]
    assert len(await jobs(connection)) == 1


@pytest.mark.parametrize("given", [{"every": timedelta(milliseconds=999)}])
def test_too_often_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SetupError, match="Once a second is the most"):
        Schedule(write, **given, args={"names": []})


def test_arguments_that_its_job_does_not_take_are_refused() -> None:
    with pytest.raises(TypeError, match="can't be called like that"):
        Schedule(write, DAY)
