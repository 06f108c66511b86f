"""Chaos: for some time everything that jobs stand on is killed at random, while clients go on asking for jobs."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

from httpx import AsyncClient, HTTPError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.faults.redis import OwnRedis
from tests.faults.walls import Order
from tests.faults.workforce import Post, Workforce

CLIENTS = 6
OPEN_MOST = 200
"""So many jobs wait at the most: there is always work, and never so much that it takes long in the end."""
REGRETTED_SHARE = 0.2
CREATED = 201
OPEN = text("SELECT count(*) FROM shelfmark_jobs WHERE state IN ('queued', 'running')")
TERMINATE = text("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'shelfmark%' ORDER BY random() LIMIT :some
""")
FEW, ALL = 3, 1000


@dataclass
class Asked:
    """What clients have asked for.

    Attributes:
        kept: walls whose order was acknowledged.
        regretted: walls whose order was to be rolled back.
        unknown: how many were told nothing, or were refused.
        full: whether enough jobs wait.
    """

    kept: set[str] = field(default_factory=set)
    regretted: set[str] = field(default_factory=set)
    unknown: int = 0
    full: bool = False

    async def by(self, force: Workforce, enough: Callable[[], bool]) -> None:
        """Be a client, until it is enough."""
        async with AsyncClient(timeout=30.0) as client:
            while not enough():
                if self.full:
                    await asyncio.sleep(0.1)
                    continue
                await self._ask(client, random.choice(force.bases))  # noqa: S311

    async def _ask(self, client: AsyncClient, base: str) -> None:
        order = some_wall()
        if not order.kept:
            self.regretted.add(order.wall)
        try:
            answer = await client.post(f"{base}/walls", json=order.model_dump())
            acknowledged = answer.status_code == CREATED
        except HTTPError:
            acknowledged = False
        if not acknowledged:
            self.unknown += 1
            await asyncio.sleep(0.2)
        elif order.kept:
            self.kept.add(order.wall)


def some_wall() -> Order:
    """A wall of 5 to 20 stones; one in five is regretted before its order is committed."""
    return Order(
        wall=uuid4().hex,
        stones=random.randint(5, 20),  # noqa: S311
        pause=random.uniform(0.0, 0.05),  # noqa: S311
        linger=random.uniform(0.0, 0.05),  # noqa: S311
        kept=random.random() > REGRETTED_SHARE,  # noqa: S311
    )


@dataclass
class Chaos:
    """What is done to whom.

    Attributes:
        done: how often what was done.
    """

    force: Workforce
    redis: OwnRedis
    connection: AsyncConnection
    done: Counter[str] = field(default_factory=Counter)
    _returning: set[asyncio.Task[None]] = field(default_factory=set)

    async def reign(self, seconds: float) -> None:
        """Do one thing after the other, at random; in the end everything is there again."""
        deeds = {self._worker: 4, self._relay: 3, self._web: 2, self._redis: 2, self._flush: 2, self._backends: 3}
        until = monotonic() + seconds
        while monotonic() < until:
            await asyncio.sleep(random.uniform(0.2, 1.5))  # noqa: S311
            deed: Callable[[], Awaitable[None]] = random.choices(list(deeds), list(deeds.values()))[0]  # noqa: S311
            await deed()
        await asyncio.gather(*self._returning)

    async def _worker(self) -> None:
        """One of them stays: what is promised of orphans is promised where somebody can run them."""
        if all(worker.ready for worker in self.force.workers):
            post = random.choice(self.force.workers)  # noqa: S311
            await self.force.kill_worker(post, self.connection)
            self._again("workers killed", post.begin())

    async def _relay(self) -> None:
        self._killed("relays killed", self.force.relays)

    async def _web(self) -> None:
        self._killed("web processes killed", self.force.webs)

    def _killed(self, what: str, posts: list[Post]) -> None:
        ready = [post for post in posts if post.ready]
        if ready:
            post = random.choice(ready)  # noqa: S311
            post.kill()
            self._again(what, post.begin())

    async def _redis(self) -> None:
        self.redis.suffer("killed")
        self.done["Redis killed"] += 1
        await asyncio.sleep(random.uniform(0.0, 1.0))  # noqa: S311
        await asyncio.to_thread(self.redis.recover, "killed")

    async def _flush(self) -> None:
        await self.redis.forget()
        self.done["Redis emptied"] += 1

    async def _backends(self) -> None:
        some = random.choice([FEW, ALL])  # noqa: S311
        self.done["backends terminated"] += len((await self.connection.execute(TERMINATE, {"some": some})).all())

    def _again(self, what: str, beginning: Awaitable[None]) -> None:
        self.done[what] += 1
        task: asyncio.Task[None] = asyncio.ensure_future(beginning)
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)


async def watched_over(asked: Asked, connection: AsyncConnection) -> None:
    """Tell clients when enough jobs wait, for ever."""
    while True:
        asked.full = int(await connection.scalar(OPEN) or 0) >= OPEN_MOST
        await asyncio.sleep(0.2)
