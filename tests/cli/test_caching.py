"""`shelfmark cache`: what is kept, and having it forgotten."""

import asyncio
import json
from collections.abc import Callable

import pytest

from service.app import create_app
from service.cache.caching import Cache
from tests.cache.asking import created, keep
from tests.fixtures.application import client_of
from tests.fixtures.databases import settings_of
from tests.fixtures.processes import Ended, unused_port
from tests.fixtures.servers import Servers
from tests.waiting import until

Shelfmark = Callable[..., Ended]


async def test_stats_and_drop(shelfmark: Shelfmark, own_database: str, servers: Servers) -> None:
    given = {"DATABASE_URL": own_database, "REDIS_URL": servers.redis}
    before = await asyncio.to_thread(shelfmark, "cache", "stats", **given)
    assert "Nothing that is kept is believed" in before.out
    app = create_app(settings_of(own_database, redis_url=servers.redis, cache=True, cache_timeout_ms=1000))
    async with app.router.lifespan_context(app), client_of(app) as client:
        path = f"/v1/authors/{await created(client, '/v1/authors', name='Ursula')}"
        await keep(client, path)
        said = (await asyncio.to_thread(shelfmark, "cache", "stats", "--json", **given)).out
        found = json.loads(said[said.index("{\n") :])  # the service of this process says things, too
        assert found["answers"] >= 1
        assert found["tags"] >= 2
        assert (await asyncio.to_thread(shelfmark, "cache", "drop", "authors", **given)).code == 0
        cache: Cache = app.state.service.cache
        await until(lambda: cache.epoch.overdue)

        await keep(client, path)


@pytest.mark.parametrize(
    ("words", "told"),
    [(("drop", "loans"), "Nothing is kept of loans"), (("stats",), "REDIS_URL is not set")],
)
def test_what_can_not_be_done(shelfmark: Shelfmark, own_database: str, words: tuple[str, ...], told: str) -> None:
    ended = shelfmark("cache", *words, DATABASE_URL=own_database)
    assert ended.code != 0
    assert told in ended.err


def test_redis_is_away(shelfmark: Shelfmark, own_database: str) -> None:
    ended = shelfmark("cache", "stats", DATABASE_URL=own_database, REDIS_URL=f"redis://127.0.0.1:{unused_port()}/0")
    assert ended.code == 2
    assert ended.err.startswith("Redis can't be reached: ")
    assert ". Check REDIS_URL." in ended.err
    assert ".." not in ended.err
