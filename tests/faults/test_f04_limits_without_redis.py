"""F4, the part of the limits: Redis killed or stopped. The API goes on as quickly, limits hold for each process, and come back."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.app import create_app
from service.db import Database
from service.http.slices import GIVE_UP_SECONDS
from service.settings import Settings, load
from tests.factories.authors import AuthorFactory
from tests.faults.figures import Figures, fault
from tests.faults.pace import p99, times
from tests.faults.redis import OwnRedis
from tests.fixtures.application import client_of

SECONDS = 10.0
FAULTS = ("killed", "stopped")


@pytest.fixture
async def limited(settings: Settings, committed: Database, own_redis: OwnRedis) -> AsyncIterator[AsyncClient]:
    """A service with limits that nobody exceeds, so that slices are drawn all the time."""
    url = load(_env_file=None, redis_url=own_redis.url).redis_url
    update = {"redis_url": url, "key_requests_per_second": 100_000, "key_requests_burst": 100_000, "limit_slice": 20}
    update |= {"lag_ms": 60_000}  # the client of this test runs in the same process, and is a part of its load
    app = create_app(settings.model_copy(update=update), committed)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


@pytest.mark.slow
@fault(
    "F4",
    done="Redis is killed, or stopped (SIGSTOP), while limits are counted there",
    holds="requests are answered, p99 at most twice what it was; counted in Redis again afterwards",
)
@pytest.mark.parametrize("how", FAULTS)
async def test_limits_without_redis(how: str, limited: AsyncClient, own_redis: OwnRedis, figures: Figures) -> None:
    author = await AuthorFactory.create()
    path = f"/v1/authors/{author.id}"
    await times(limited, path)
    well = await times(limited, path)
    own_redis.suffer(how)
    ill = await times(limited, path)
    own_redis.recover(how)
    again = await _counted_again(limited, path, own_redis)
    figures.tell(f"p99 {p99(well) * 1000:.1f} ms with Redis, {p99(ill) * 1000:.1f} without, slowest {max(ill) * 1000:.0f} ms")
    figures.tell(f"counted in Redis {again:.2f} s after it came back")
    assert p99(ill) <= 2 * p99(well)
    assert again < SECONDS


async def _counted_again(client: AsyncClient, path: str, own_redis: OwnRedis) -> float:
    """Seconds until the limits are counted in Redis again."""
    began = time.monotonic()
    async with Redis.from_url(own_redis.url) as there:
        while time.monotonic() - began < SECONDS:
            try:
                before = await _draws(there)
                for _ in range(30):
                    await client.get(path)
                if await _draws(there) > before:
                    return time.monotonic() - began
            except RedisError:
                await asyncio.sleep(0.01)
    return float("inf")


async def _draws(there: "Redis") -> int:
    """How often Redis was asked for a slice. The keys themselves are gone as soon as what they count is earned again."""
    told = await there.info("commandstats")
    return sum(int(stats["calls"]) for name, stats in told.items() if name in {"cmdstat_eval", "cmdstat_evalsha"})


@fault(
    "F4, a limit",
    done="Redis is killed, or stopped, in the middle of what a key may do",
    holds="the limit goes on in each process, nobody gains a burst by it, and no request waits for long",
)
@pytest.mark.parametrize("how", FAULTS)
async def test_a_limit_holds_without_redis(
    how: str, settings: Settings, committed: Database, own_redis: OwnRedis, figures: Figures
) -> None:
    """In each process by itself; nobody gains a burst by the loss, and no request waits for long."""
    url = load(_env_file=None, redis_url=own_redis.url).redis_url
    update = {"redis_url": url, "key_requests_per_second": 0.001, "key_requests_burst": 50, "limit_slice": 5}
    app = create_app(settings.model_copy(update=update), committed)
    author = await AuthorFactory.create()
    statuses, slowest = [], 0.0
    async with app.router.lifespan_context(app), client_of(app) as client:
        for number in range(80):
            if number == 25:
                own_redis.suffer(how)
            began = time.perf_counter()
            statuses.append((await client.get(f"/v1/authors/{author.id}")).status_code)
            slowest = max(slowest, time.perf_counter() - began)
        own_redis.recover(how)
    figures.tell(f"{statuses.count(200)} of a burst of 50 answered, the slowest after {slowest * 1000:.0f} ms")
    assert set(statuses) == {200, 429}
    assert 45 <= statuses.count(200) <= 55
    assert slowest < GIVE_UP_SECONDS + 0.25
