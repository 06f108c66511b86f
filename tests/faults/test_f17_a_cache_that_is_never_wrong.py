"""F17: the cache against the database. Writers, readers, delays; processes and a Redis that are killed, stopped and emptied.

What was read is held against what had been acknowledged: see `tests/cache/history.py`. The same checker must find each of the
mistakes that are easily made (`tests/cache/serving.py`), or it would prove nothing.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from redis.asyncio import Redis

from service.local import redis
from tests.cache.history import AFTER_FAULT_SECONDS
from tests.cache.processes import Processes, processes
from tests.cache.serving import MISTAKES
from tests.cache.traffic import Traffic, traffic
from tests.faults.figures import Figures, fault
from tests.faults.proxy import Proxy, proxied
from tests.faults.redis import OwnRedis

SECONDS = float(os.environ.get("SHELFMARK_F17_SECONDS", "60"))
WRITERS, READERS = 16, 64
MISTAKEN_SECONDS = 40.0
STOPPED_SECONDS = 3.0


@pytest.fixture
async def proxy(own_redis: OwnRedis) -> AsyncIterator[Proxy]:
    """A way to it that may fall silent."""
    async with proxied(own_redis.where.sockets / redis.SOCKET) as made:
        yield made


@asynccontextmanager
async def served(url: str, own_redis: OwnRedis, proxy: Proxy, *mistakes: str) -> AsyncIterator[Processes]:
    """Three processes, the last of which reaches Redis by the proxy; it has to be served by this loop while they start."""
    ways = (own_redis.url, own_redis.url, f"redis://127.0.0.1:{proxy.port}/0")
    block = processes(url, ways, *mistakes)
    made = await asyncio.to_thread(block.__enter__)
    try:
        yield made
    finally:
        await asyncio.to_thread(block.__exit__, None, None, None)


async def _flush(own_redis: OwnRedis) -> None:
    async with Redis.from_url(own_redis.url) as there:
        await there.flushall()


@fault(
    "F17",
    done="16 writers, 64 readers, 3 processes, delays after each commit; a process killed, Redis emptied, stopped for 3 s, killed, "
    "and one process's way to it silent for 3 s",
    holds="no read is older than what was acknowledged 50 ms before, or 1.5 s where something broke",
)
async def test_never_wrong(own_database: str, own_redis: OwnRedis, proxy: Proxy, figures: Figures) -> None:
    async with served(own_database, own_redis, proxy) as run, traffic(run.ports, WRITERS, READERS) as history:
        began = monotonic()

        async def at(part: float, act: Callable[[], Awaitable[None]]) -> None:
            """Break something once a part of the time is over."""
            await asyncio.sleep(max(0.0, began + part * SECONDS - monotonic()))
            since = monotonic()
            await act()
            history.faults.append((since, monotonic()))

        async def kill() -> None:
            await asyncio.to_thread(run.kill, 1)

        async def stop() -> None:
            own_redis.suffer("stopped")
            await asyncio.sleep(STOPPED_SECONDS)
            own_redis.recover("stopped")

        async def end() -> None:
            own_redis.suffer("killed")
            await asyncio.to_thread(own_redis.recover, "killed")

        async def silence() -> None:
            proxy.silent = True
            await asyncio.sleep(STOPPED_SECONDS)
            proxy.silent = False
            proxy.drop()

        await at(0.15, kill)
        await asyncio.to_thread(run.start, 1)
        await at(0.3, lambda: _flush(own_redis))
        await at(0.45, stop)
        await at(0.65, end)
        await at(0.8, silence)
        await asyncio.sleep(max(0.0, began + SECONDS - monotonic()))
        acked = sum(len(one.acked) for one in history.registers.values())
        losses = list(run.losses())
    stale = history.stale(losses)
    figures.tell(f"{len(history.reads):,} reads, {history.hits / len(history.reads):.0%} out of the cache, {acked:,} writes")
    figures.tell(f"{len(stale)} reads too old; {len(losses)} times a process found that Redis didn't answer in time")
    assert acked > 10 * WRITERS
    assert history.hits > len(history.reads) / 10
    assert [(read.key, read.shown, history.behind(read), read.began - began) for read in stale] == [], history.faults


@fault(
    "F17, a mistake",
    done="the same, with a mistake put into the service on purpose",
    holds="the checker finds it",
)
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_is_found(mistake: str, own_database: str, own_redis: OwnRedis, proxy: Proxy, figures: Figures) -> None:
    async with served(own_database, own_redis, proxy, mistake) as run, traffic(run.ports, WRITERS, READERS) as history:
        began = monotonic()
        while monotonic() - began < MISTAKEN_SECONDS and not history.stale(run.losses()):
            await _provoked(mistake, own_redis, history)
        took = monotonic() - began
        stale = history.stale(run.losses())
    behind = max(map(history.behind, stale), default=0)
    figures.tell(f"found after {took:.0f} s: {len(stale)} of {len(history.reads):,} reads too old, by up to {behind:.1f} s")
    assert stale


async def _provoked(mistake: str, own_redis: OwnRedis, history: Traffic) -> None:
    """What brings a mistake to light; most need nothing but traffic."""
    if mistake == "counters_as_tags":
        history.busy.set()
        await asyncio.sleep(1.0)
        since = monotonic()
        await _flush(own_redis)
        history.busy.clear()  # or the next write would make good again what was kept wrongly
        history.faults.append((since, monotonic()))
        await asyncio.sleep(2 * AFTER_FAULT_SECONDS)
    elif mistake == "no_epoch":
        since = monotonic()
        own_redis.suffer("stopped")
        await asyncio.sleep(STOPPED_SECONDS)
        own_redis.recover("stopped")
        history.faults.append((since, monotonic()))
        await asyncio.sleep(1.0)
    else:
        await asyncio.sleep(1.0)
