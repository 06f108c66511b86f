"""The upkeep of pools: warm before traffic comes, whole again after a loss, exchanged with age, and never in anybody's way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.db import Database
from service.db.engine import reading_engine
from service.db.keeping import COLD, Keeper
from service.db.lease import Leases
from service.errors import SetupError, Unavailable
from service.settings import Settings
from tests.db.test_lease import all_of, kill_all
from tests.waiting import until

LONG = 3600.0


async def unchecked() -> None:
    """Have nothing against connections."""


@pytest.fixture
async def leases(empty_database: str, settings: Settings) -> AsyncIterator[Leases]:
    """Connections of a database of their own."""
    engine = reading_engine(empty_database, settings.model_copy(update={"read_pool_size": 4}))
    made = Leases(engine, patience_seconds=5.0, queue_most=1000)
    yield made
    await made.quiet()
    await engine.dispose()


def idle(leases: Leases) -> int:
    """Live connections that nobody uses."""
    assert leases.gate.free + leases.pool.checkedout() == leases.gate.permits
    return leases.pool.checkedin()


async def test_all_connections_are_made(leases: Leases) -> None:
    keeper = Keeper([leases], LONG, unchecked)
    assert keeper.cold == COLD
    async with keeper.running():
        await until(lambda: not keeper.cold)
        assert idle(leases) == 4
    assert sum(leases.gate.waits) == sum(leases.gate.holds) == 0


async def test_connections_that_died_are_made_anew(leases: Leases, empty_database: str) -> None:
    keeper = Keeper([leases], LONG, unchecked)
    await keeper.look_after(leases)
    before = await all_of(leases)
    assert await kill_all(empty_database) == 4
    await until(lambda: all(driver.is_closed() for driver in before))
    await keeper.look_after(leases)
    after = await all_of(leases)
    assert not set(before) & set(after)
    assert not any(driver.is_closed() for driver in after)


async def test_one_that_is_old_is_exchanged_and_the_order_stays(leases: Leases) -> None:
    keeper = Keeper([leases], LONG, unchecked)
    await keeper.look_after(leases)
    before = await all_of(leases)
    before.reverse()  # the last one that was put back comes first
    await keeper.look_after(leases)
    same = await all_of(leases)
    assert same == before
    for number in range(1, 5):
        await Keeper([leases], 0.0, unchecked).look_after(leases)
        now = await all_of(leases)
        assert len(set(before) & set(now)) >= 4 - number
    assert sum(driver.is_closed() for driver in before) >= 1


async def test_connections_in_use_are_left_alone(leases: Leases) -> None:
    held = [await asyncio.create_task(leases.take()) for _ in range(4)]
    await Keeper([leases], 0.0, unchecked).look_after(leases)
    drivers: list[Any] = [fairy.driver_connection for _, fairy in held]
    assert not any(driver.is_closed() for driver in drivers)
    for permit, fairy in held:
        leases.put_back(permit, fairy, None)
    assert idle(leases) == 4


async def test_a_database_that_is_away_is_told_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.db.keeping.EVERY_SECONDS", 0.01)
    engine = reading_engine("postgresql+asyncpg://u@127.0.0.1:1/x", settings)
    away = Leases(engine, patience_seconds=1.0, queue_most=10)
    keeper = Keeper([away], LONG, unchecked)
    with capture_logs() as logs:
        async with keeper.running():
            with pytest.raises(Unavailable):
                await keeper.look_after(away)
            await asyncio.sleep(0.1)
    assert keeper.cold == COLD
    assert [line["event"] for line in logs] == ["connections can't be made"]
    assert away.gate.free == away.gate.permits


async def test_too_many_connections_are_not_made(leases: Leases) -> None:
    async def refuse() -> None:
        raise SetupError("too many")

    keeper = Keeper([leases], LONG, refuse)
    async with keeper.running():
        await until(lambda: keeper.cold == "too many")
    assert idle(leases) == 0


def why_cold(database: Database) -> str | None:
    """Asked anew each time."""
    return database.cold


async def test_a_database_that_nobody_looks_after_is_not_cold(committed: Database) -> None:
    assert why_cold(committed) is None
    async with committed.kept(unchecked):
        assert why_cold(committed) == COLD
        await until(lambda: not committed.cold)
    assert [leases.pool.checkedin() for leases in committed.pools()] == [leases.gate.permits for leases in committed.pools()]
