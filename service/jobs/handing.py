"""Jobs that are due are handed out: their claim grows in PostgreSQL, then arq's queue in Redis gets `(job id, claim)`.

The message is no more than a bell. Lost, with its Redis or with whoever rang or heard it, it is rung again a second later; late or
doubled, it finds its claim outdated. What arq trusts wall clocks for is fixed: a message is due since 1970, and expires by Redis's
clock alone. It is written as msgpack: what isn't is refused, and arq's own default, pickle, is never used.
"""

import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import msgspec
import structlog
from arq.connections import ArqRedis, RedisSettings
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db.feed import Noted
from service.jobs import transitions
from service.jobs.transitions import HANDED_SECONDS, Claim

FUNCTION = "perform"
AT_ONCE = 200
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
PLACES = 10**9
EXPIRES = datetime.timedelta(seconds=HANDED_SECONDS * 6)
REDIS_SECONDS = 2.0
AGAIN_SECONDS = 1.0
"""After which a message that nobody has heeded is looked for."""
log = structlog.get_logger(__name__)


def packed(message: Any) -> bytes:
    """A message as Redis has it. What has no form of its own is told in words: arq puts exceptions there."""
    return msgspec.msgpack.encode(message, enc_hook=repr)


def unpacked(message: bytes) -> Any:
    """A message out of Redis."""
    return msgspec.msgpack.decode(message)


SERIALIZING: dict[str, Any] = {"job_serializer": packed, "job_deserializer": unpacked}
"""What arq is always told: its default runs what it reads."""


def queue(url: str, name: str) -> ArqRedis:
    """Arq's side of a Redis server, for one database's jobs.

    Args:
        url: of the Redis server.
        name: the queue's.
    """
    pool = Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS).connection_pool
    return ArqRedis(pool, default_queue_name=name, **SERIALIZING)


def redis_settings(url: str) -> RedisSettings:
    """A Redis server as `arq --check` wants it told: by its parts, which arq itself would read from a URL in its own way."""
    parts: dict[str, Any] = {"host": "localhost", **parse_url(url)}
    named = {"database": parts.get("db", 0), "unix_socket_path": parts.get("path"), "ssl": url.startswith("rediss:")}
    return RedisSettings(**named, **{name: parts[name] for name in ("host", "port", "username", "password") if name in parts})


async def forget(redis: ArqRedis, name: str) -> None:
    """Take a message out of the queue as soon as it was heard.

    arq does so when its function has ended. What a worker leaves there that is killed before, each other one finds again and again,
    at the head of the queue and in place of what is new.

    Args:
        redis: the queue.
        name: the message's, as arq has it.
    """
    async with redis.pipeline(transaction=True) as pipe:
        pipe.zrem(redis.default_queue_name, name)
        pipe.delete(*(prefix + name for prefix in (job_key_prefix, in_progress_key_prefix, retry_key_prefix)))
        await pipe.execute()


class Handing:
    """Hands out what is due; a consumer of the outbox, so that a new job is looked at when it is committed.

    Args:
        connected: gives the queue; asked anew after the server went away.
    """

    name = "jobs"

    def __init__(self, connected: Callable[[], ArqRedis]) -> None:
        self._connected = connected
        self._redis: ArqRedis | None = None
        self._able = True
        self._listened = 0.0

    async def told(self, notes: Sequence[Noted]) -> None:
        """Nothing more: the step after this one finds what is due."""

    async def step(self, connection: AsyncConnection) -> bool:
        """Hand out what is due, as far as there is room; whether there may be more."""
        redis = await self._reached()
        if redis is None:
            return False
        async with connection.begin():
            claims = await transitions.hand_out(connection, AT_ONCE)
        lost = await self._rung(redis, claims)
        if lost:
            async with connection.begin():
                await transitions.take_back(connection, lost)
        else:
            await self._listen(connection, redis)
        return len(claims) == AT_ONCE and not lost

    async def aclose(self) -> None:
        """Leave the server."""
        if self._redis:
            await self._redis.aclose(close_connection_pool=True)

    async def _reached(self) -> ArqRedis | None:
        """The queue, if it answers: else no claim has to grow in vain."""
        try:
            self._redis = self._redis or self._connected()
            await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            if self._able:
                log.warning("no jobs are handed out: Redis can't be reached", reason=str(error))
            self._able = False
            return None
        self._able = True
        return self._redis

    async def _listen(self, connection: AsyncConnection, redis: ArqRedis) -> None:
        """Ring again for claims by which nobody begins, and whose message doesn't wait in the queue any more.

        The claim stays what it is: a worker that has heard the first message, and is slow, may still begin by it.
        """
        if monotonic() - self._listened < AGAIN_SECONDS:
            return
        self._listened = monotonic()
        async with connection.begin():
            claims = await transitions.unbegun(connection, AGAIN_SECONDS, AT_ONCE)
        with suppress(RedisError, OSError, TimeoutError):  # else it is handed out again
            for claim in await unheard(redis, claims):
                await forget(redis, named(redis, claim))
                await ring(redis, claim)

    async def _rung(self, redis: ArqRedis, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Ring for each claim; those for which that didn't work."""
        for place, claim in enumerate(claims):
            try:
                await ring(redis, claim)
            except (RedisError, OSError, TimeoutError):
                return claims[place:]
        return []


async def ring(redis: ArqRedis, claim: Claim) -> None:
    """Put a message into the queue; in the order of jobs."""
    since = EPOCH + datetime.timedelta(milliseconds=1 + claim[0] % PLACES)
    await redis.enqueue_job(FUNCTION, *claim, _job_id=named(redis, claim), _defer_until=since, _expires=EXPIRES)


async def unheard(redis: ArqRedis, claims: Sequence[Claim]) -> Sequence[Claim]:
    """Those whose message isn't in the queue, or was picked up by a worker that has never come to heed it."""
    if not claims:
        return []
    names = [named(redis, claim) for claim in claims]
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.zscore(redis.default_queue_name, name)
        pipe.mget([in_progress_key_prefix + name for name in names])
        *places, picked_up = await pipe.execute()
    return [claim for claim, place, taken in zip(claims, places, picked_up, strict=True) if place is None or taken is not None]


def named(redis: ArqRedis, claim: Claim) -> str:
    """The name of a claim's message: arq's are those of all queues together."""
    return f"{redis.default_queue_name}:{claim[0]}:{claim[1]}"
