"""F4, the part of the cache: Redis killed or stopped. All is read from the database, nearly as quickly, and is never old."""

import time
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient

from service.app import create_app
from service.db import Database
from service.settings import Settings, load
from tests.cache.asking import created, how
from tests.cache.history import AFTER_FAULT_SECONDS
from tests.faults.figures import Figures, fault
from tests.faults.pace import p99, times
from tests.faults.redis import OwnRedis
from tests.fixtures.application import client_of
from tests.waiting import until


@pytest.fixture
async def client(settings: Settings, committed: Database, own_redis: OwnRedis) -> AsyncIterator[AsyncClient]:
    """A service that keeps answers there."""
    url = load(_env_file=None, redis_url=own_redis.url).redis_url
    app = create_app(settings.model_copy(update={"redis_url": url, "cache": True, "lag_ms": 60_000}), committed)
    async with app.router.lifespan_context(app), client_of(app) as made:
        yield made


@fault(
    "F4, the cache",
    done="Redis is killed, or stopped (SIGSTOP), while answers are kept there, and a row is written meanwhile",
    holds="no errors, p99 at most twice that of a table that isn't kept; nothing old meanwhile, nor "
    f"{AFTER_FAULT_SECONDS} s after Redis came back",
)
@pytest.mark.parametrize("broken", ["killed", "stopped"])
async def test_without_redis(broken: str, client: AsyncClient, own_redis: OwnRedis, figures: Figures) -> None:
    kept = f"/v1/authors/{await created(client, '/v1/authors', name='Old')}"
    plain = f"/v1/members/{await created(client, '/v1/members', name='A', email='a@example.org')}"

    async def hit() -> bool:
        return await how(client, kept) == "hit"

    await until(hit)
    await times(client, plain)
    usual = await times(client, plain)
    own_redis.suffer(broken)
    without = await times(client, kept)
    assert (await client.patch(kept, json={"name": "New"})).status_code == 204
    meanwhile = (await client.get(kept)).json()["name"]
    own_redis.recover(broken)
    began, old = time.monotonic(), 0.0
    again = await until(hit)
    while (now := time.monotonic() - began) < 2 * AFTER_FAULT_SECONDS:
        if (await client.get(kept)).json()["name"] != "New":
            old = now
    assert await hit()
    figures.tell(f"p99 {p99(without) * 1000:.1f} ms, {p99(usual) * 1000:.1f} of a table that isn't kept")
    figures.tell(f"slowest {max(without) * 1000:.0f} ms; kept again {again:.1f} s after Redis came back")
    figures.tell(f"the last old answer {old:.1f} s after that" if old else "no old answer")
    assert meanwhile == "New"
    assert old <= AFTER_FAULT_SECONDS
    assert p99(without) <= 2 * p99(usual)
