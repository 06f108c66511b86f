"""A storm: requests that are cancelled at random while their connections are killed. What survives it leaks and lies nowhere."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.errors import Overloaded, Unavailable
from tests.waiting import until

KILL = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'shelfmark' ORDER BY random() LIMIT :some"
)
LEFT = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'shelfmark' AND state <> 'idle'"
)
REQUESTS_PER_KILL = 25
Ask = Callable[[int], Awaitable[int]]


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection that the storm spares."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def storm(url: str, ask: Ask, requests: int, at_once: int = 8) -> Counter[str]:
    """How so many requests ended, half of which were cancelled: right, wrong, away, busy, cancelled, and how many were killed."""
    ended: Counter[str] = Counter()
    numbers = iter(range(requests))

    async def client() -> None:
        for number in numbers:
            task = asyncio.ensure_future(ask(number))
            if random.random() < 0.5:  # noqa: S311
                await asyncio.sleep(random.random() * 0.006)  # noqa: S311
                task.cancel()
            ended[await _outcome(task, number)] += 1

    async with watching(url) as connection:
        killer = asyncio.create_task(_kill(connection, ended))
        await asyncio.gather(*(client() for _ in range(at_once)))
        killer.cancel()
        await asyncio.gather(killer, return_exceptions=True)
    return ended


async def _outcome(task: "asyncio.Future[int]", number: int) -> str:
    try:
        return "right" if await task == number else "wrong"
    except asyncio.CancelledError:
        return "cancelled"
    except Unavailable:
        return "away"
    except Overloaded:
        return "busy"


def _enough(ended: Counter[str], most: int) -> bool:
    return ended.total() >= most


async def _kill(connection: AsyncConnection, ended: Counter[str]) -> None:
    while True:
        await until(partial(_enough, ended, ended.total() + REQUESTS_PER_KILL))
        ended["killed"] += len((await connection.execute(KILL, {"some": 1})).all())


async def at_work(url: str) -> int:
    """How many connections of the storm's aren't idle."""
    async with watching(url) as connection:
        return int(await connection.scalar(LEFT) or 0)


async def still_at_work(url: str) -> int:
    """How many aren't idle, looked at for a second until there are none."""
    for _ in range(50):
        if not await at_work(url):
            return 0
        await asyncio.sleep(0.01)
    return await at_work(url)
