"""The connection: one command for all that a turn wants; slow or gone is no error, and nobody waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from service.cache.pipe import Pipe, Script
from tests.faults.proxy import Proxy, proxied
from tests.fixtures.servers import Servers
from tests.waiting import until


@pytest.fixture
async def pipe(servers: Servers) -> AsyncIterator[Pipe]:
    """A pipe that is open."""
    made = Pipe(servers.redis, 5.0)
    await until(lambda: made.open)
    yield made
    await made.close()


@pytest.fixture
async def proxy(servers: Servers) -> AsyncIterator[Proxy]:
    """A way to the same Redis that may fall silent."""
    path = servers.redis.removeprefix("unix://").partition("?")[0]
    if not servers.redis.startswith("unix://"):
        pytest.skip("the proxy stands before a unix socket")
    async with proxied(Path(path)) as made:
        yield made


async def test_what_a_turn_wants_is_one_command(pipe: Pipe, servers: Servers) -> None:
    async with Redis.from_url(servers.redis) as there:
        await there.mset({"pipe:1": "one", "pipe:2": "two"})
        before = (await there.info("commandstats"))["cmdstat_mget"]["calls"] if await there.mget("pipe:1") else 0
        found = await asyncio.gather(*(pipe.fetch([b"pipe:1", b"pipe:%d" % number, b"pipe:none"]) for number in (1, 2) * 50))
        assert (await there.info("commandstats"))["cmdstat_mget"]["calls"] - before < 20  # other tests ask as well
        await there.delete("pipe:1", "pipe:2")
    assert found == [[b"one", b"one", None], [b"one", b"two", None]] * 50


async def test_a_refusal_is_an_answer(pipe: Pipe) -> None:
    found = await pipe.ask((b"PING",), (b"NONSENSE",), (b"ECHO", b"x"))
    assert found
    assert found[0] == b"PONG"
    assert isinstance(found[1], Exception)
    assert found[2] == b"x"


async def test_a_script_is_loaded_when_it_is_needed(pipe: Pipe) -> None:
    script = Script(f"return {{KEYS[1], ARGV[1], {time.time_ns()}}}")
    for _ in range(2):
        assert (await pipe.run(script, [b"k"], [b"v"]))[:2] == [b"k", b"v"]
    assert await pipe.run(Script("return redis.call('NONSENSE')"), [], []) is None


async def test_one_that_leaves_takes_nobody_along(pipe: Pipe) -> None:
    leaving = asyncio.ensure_future(pipe.fetch([b"pipe:none"]))
    staying = asyncio.ensure_future(pipe.fetch([b"pipe:none"]))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == [None]


async def test_nobody_is_there() -> None:
    pipe = Pipe("unix:///nowhere/redis.sock")
    assert await pipe.fetch([b"k"]) is None
    assert await pipe.ask((b"PING",)) is None
    assert not await pipe.ready()
    await pipe.close()


async def test_a_redis_that_refuses(servers: Servers) -> None:
    pipe = Pipe(servers.redis.partition("?")[0] + "?db=100000")
    await until(lambda: not pipe.open and pipe.resting)
    assert await pipe.fetch([b"k"]) is None
    await pipe.close()


async def test_one_that_falls_silent_is_left_and_found_again(proxy: Proxy) -> None:
    pipe = Pipe(f"redis://127.0.0.1:{proxy.port}/0")
    await until(lambda: pipe.open)
    assert await pipe.fetch([b"pipe:none"]) == [None]
    proxy.silent = True
    assert await pipe.fetch([b"pipe:none"]) is None
    assert not await pipe.ready()
    assert await pipe.ask((b"PING",)) is None
    proxy.silent = False
    proxy.drop()
    await until(lambda: pipe.open)
    assert await pipe.ask((b"PING",)) == [b"PONG"]
    await pipe.close()
    assert pipe.given_up


async def test_one_that_is_lost_for_nothing_is_there_again_at_once(proxy: Proxy) -> None:
    pipe = Pipe(f"redis://127.0.0.1:{proxy.port}/0", 5.0)
    await until(lambda: pipe.open)
    proxy.drop()
    await until(lambda: pipe.given_up)
    assert await pipe.ready()
    assert await pipe.ask((b"PING",)) == [b"PONG"]
    await pipe.close()


async def test_an_orderly_end_is_no_loss(servers: Servers) -> None:
    pipe = Pipe(servers.redis, 5.0)
    await until(lambda: pipe.open)
    with capture_logs() as logs:
        await pipe.close()
        await until(lambda: not pipe.open)
    assert (logs, pipe.given_up) == ([], 0)
