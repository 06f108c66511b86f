"""Leases: a connection that works, whatever became of it while nobody looked, and none lost, whatever becomes of who has it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from service.db.deadline import DEADLINE, Deadline
from service.db.engine import reading_engine, writing_engine
from service.db.faults import gone, problem
from service.db.lease import Leases
from service.errors import Overloaded, TimedOut, Unavailable, ValueRefused
from service.settings import Settings
from tests.db.storms import KILL, at_work, still_at_work, storm, watching
from tests.waiting import LATE_SECONDS, until

SLEEP = "SELECT pg_sleep(60)"
SLOWLY = "SELECT $1::int FROM (SELECT pg_sleep(random() * 0.004)) AS slept"


@pytest.fixture
async def leases(empty_database: str, settings: Settings) -> AsyncIterator[Leases]:
    """Connections that read, of a database of their own."""
    sized = settings.model_copy(update={"read_pool_size": 4, "database_url": None})
    engine = reading_engine(empty_database, sized)
    made = Leases(engine, patience_seconds=5.0, queue_most=1000)
    yield made
    await made.quiet()
    await engine.dispose()


@pytest.fixture
async def units(empty_database: str, settings: Settings) -> AsyncIterator[Leases]:
    """Connections that write, of a database of their own."""
    engine = writing_engine(empty_database, settings.model_copy(update={"write_pool_size": 2}))
    made = Leases(engine, patience_seconds=5.0, queue_most=1000, transactions=True)
    yield made
    await made.quiet()
    await engine.dispose()


async def fetched(leases: Leases, sql: str, *given: Any) -> Any:
    """A value, asked for on a lease."""
    async with leases.lease() as driver:
        return await driver.fetchval(sql, *given)


async def kill_all(url: str) -> int:
    """End every connection of a database; how many there were."""
    async with watching(url) as connection:
        return len((await connection.execute(KILL, {"some": 1000})).all())


async def all_of(leases: Leases) -> list[Any]:
    """Every connection of a pool."""
    taken = [await asyncio.create_task(leases.take()) for _ in range(leases.gate.permits)]
    drivers = [fairy.driver_connection for _, fairy in taken]
    for permit, fairy in taken:
        leases.put_back(permit, fairy, None)
    return drivers


async def whole(leases: Leases) -> None:
    """Every permit is back, no connection is out, and each of them answers."""
    await leases.quiet()
    assert (leases.gate.free, leases.gate.queued, leases.pool.checkedout()) == (leases.gate.permits, 0, 0)
    number = leases.gate.permits
    assert await asyncio.gather(*(asked_again(leases, one) for one in range(number))) == list(range(number))


async def test_a_lease_is_a_connection_of_the_driver(leases: Leases) -> None:
    async with leases.lease() as driver:
        assert isinstance(driver, asyncpg.Connection)
        assert await driver.fetchval("SELECT $1::text", "é") == "é"
        assert leases.gate.free == 3
    await whole(leases)


async def test_a_lease_and_a_session_share_the_pool(leases: Leases) -> None:
    pid = await fetched(leases, "SELECT pg_backend_pid()")
    async with leases.session() as session:
        assert await session.scalar(text("SELECT pg_backend_pid()")) == pid
    assert await fetched(leases, "SELECT pg_backend_pid()") == pid


async def test_a_connection_that_died_idle_is_not_handed_out(leases: Leases, empty_database: str) -> None:
    drivers = await all_of(leases)
    assert await kill_all(empty_database) == 4
    await until(lambda: all(driver.is_closed() for driver in drivers))
    for _ in range(2):
        assert await asyncio.gather(*(fetched(leases, "SELECT 1") for _ in range(8))) == [1] * 8
    await whole(leases)


async def test_a_connection_that_dies_in_use_is_gone(leases: Leases, empty_database: str) -> None:
    task = asyncio.create_task(fetched(leases, SLEEP))
    await until(lambda: at_work(empty_database))
    await until(lambda: kill_all(empty_database))
    with pytest.raises(asyncpg.PostgresError) as raised:
        await task
    assert gone(raised.value)
    assert isinstance(problem(raised.value), Unavailable)
    await whole(leases)


async def test_what_the_server_refuses_leaves_the_connection_as_it_was(leases: Leases) -> None:
    pid = await fetched(leases, "SELECT pg_backend_pid()")
    with pytest.raises(asyncpg.PostgresError) as raised:
        await fetched(leases, "SELECT 1 / $1::int", 0)
    assert isinstance(problem(raised.value), ValueRefused)
    assert not gone(raised.value)
    assert await fetched(leases, "SELECT pg_backend_pid()") == pid
    assert (leases.mended, leases.closed) == (0, 0)


async def test_a_cancelled_statement_is_stopped_and_its_connection_mended(
    leases: Leases, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.db.lease.MEND_SECONDS", LATE_SECONDS)
    pid = await fetched(leases, "SELECT pg_backend_pid()")
    task = asyncio.create_task(fetched(leases, SLEEP))
    await until(lambda: at_work(empty_database))
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < LATE_SECONDS
    assert leases.gate.free == 3
    await leases.quiet()
    assert (leases.gate.free, leases.mended, leases.closed) == (4, 1, 0)
    assert await fetched(leases, "SELECT pg_backend_pid()") == pid
    assert await still_at_work(empty_database) == 0


async def test_a_statement_beyond_the_drivers_limit_is_stopped(leases: Leases, empty_database: str) -> None:
    async with leases.lease() as driver:
        pid = driver.get_server_pid()
    with pytest.raises(TimeoutError) as raised:
        async with leases.lease() as driver:
            await driver.fetch(SLEEP, timeout=0.05)
    assert isinstance(problem(raised.value), TimedOut)
    await leases.quiet()
    assert await fetched(leases, "SELECT pg_backend_pid()") == pid
    assert await still_at_work(empty_database) == 0


async def test_a_transaction_that_was_left_open_is_ended(leases: Leases, empty_database: str) -> None:
    async def leave() -> None:
        async with leases.lease() as driver:
            await driver.execute("BEGIN")
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await leave()
    await whole(leases)
    assert await still_at_work(empty_database) == 0


async def test_a_unit_that_was_broken_off_leaves_nothing(units: Leases, empty_database: str) -> None:
    async def write() -> None:
        async with units.session() as session:
            await session.execute(text("CREATE TABLE half (id int)"))
            begun.set()
            await session.execute(text(SLEEP))

    begun = asyncio.Event()
    task = asyncio.create_task(write())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await units.quiet()
    assert (units.gate.free, units.closed) == (2, 1)
    assert await still_at_work(empty_database) == 0
    assert await fetched(units, "SELECT to_regclass('half')") is None


async def test_an_error_in_a_unit_rolls_it_back_and_keeps_the_connection(units: Leases) -> None:
    async def write() -> int:
        async with units.session() as session:
            pids.append(await session.scalar(text("SELECT pg_backend_pid()")))
            await session.execute(text("CREATE TABLE half (id int)"))
            raise LookupError

    pids: list[Any] = []
    for _ in range(2):
        with pytest.raises(LookupError):
            await write()
    assert pids[0] == pids[1]
    assert (units.gate.free, units.closed) == (2, 0)


async def test_a_deadline_that_has_passed_is_told_before_a_connection_is_waited_for(leases: Leases) -> None:
    holding = [await asyncio.create_task(leases.take()) for _ in range(4)]
    before = DEADLINE.set(Deadline(time.monotonic() - 1.0))
    with pytest.raises(Overloaded):
        await fetched(leases, "SELECT 1")
    DEADLINE.reset(before)
    for permit, fairy in holding:
        leases.put_back(permit, fairy, None)
    await whole(leases)


async def test_a_database_that_is_away_costs_no_permit(settings: Settings) -> None:
    engine = reading_engine("postgresql+asyncpg://u@127.0.0.1:1/x", settings)
    away = Leases(engine, patience_seconds=1.0, queue_most=10)
    for _ in range(away.gate.permits + 1):
        with pytest.raises(Unavailable) as raised:
            await fetched(away, "SELECT 1")
        assert not gone(raised.value.__cause__)
    assert away.gate.free == away.gate.permits


async def asked_again(leases: Leases, number: int) -> int:
    """A read that is asked once more where its connection was lost."""
    try:
        return int(await fetched(leases, SLOWLY, number))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if not gone(error):
            raise
    try:
        return int(await fetched(leases, SLOWLY, number))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        found = problem(error)
        raise found or error from error


async def survive(leases: Leases, url: str, requests: int) -> Counter[str]:
    """Go through a storm and look at what is left."""
    ended = await storm(url, lambda number: asked_again(leases, number), requests)
    assert ended["wrong"] == ended["busy"] == 0, ended
    assert ended["killed"] > 0
    assert ended["right"] > requests / 4
    assert ended["away"] <= requests * 0.01 + 2, ended
    await whole(leases)
    assert await still_at_work(url) == 0
    return ended


async def test_a_storm(leases: Leases, empty_database: str) -> None:
    await survive(leases, empty_database, 400)


@pytest.mark.slow
async def test_five_storms(leases: Leases, empty_database: str) -> None:
    total: Counter[str] = Counter()
    for _ in range(5):
        total += await survive(leases, empty_database, 2000)
    print(f"5 storms of 2,000 requests: {dict(total)}, mended {leases.mended}, closed {leases.closed}")  # noqa: T201
