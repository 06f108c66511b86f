"""Requests counted in Redis, by the generic cell rate algorithm on Redis's own clock, and drawn from it a slice at a time.

A bucket's process spends its slice without asking anybody. Before the slice runs out the next one is drawn in the background; all
buckets that want one go in one pipeline. So a request waits for Redis only when its bucket has nothing left and no credit either.

Redis slow or gone: a draw is given up after `GIVE_UP_SECONDS`, and for `REST_SECONDS` each process counts alone.
"""

import asyncio
import time
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Protocol

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

GIVE_UP_SECONDS = 0.05
REST_SECONDS = 1.0
DRAWN_AT_ONCE = 500
GCRA = """
-- One bucket. Its one number is the time, in microseconds, at which all that was booked will have been earned.
-- ARGV: microseconds to earn one, how many may be booked ahead, how many are owed whatever happens, how many more are wanted.
-- Answers how many of the wanted were given, how many are left (fewer than none where too many were owed), and the microseconds
-- until the next one can be given.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local each, most, owed, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local booked = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + each * owed
local free = math.floor((now + each * most - booked) / each + 0.000001)
local given = math.max(0, math.min(wanted, free))
booked = booked + each * given
if booked > now then
  redis.call('SET', KEYS[1], string.format('%.0f', booked), 'PX', math.ceil((booked - now) / 1000) + 1)
end
return {given, free - given, math.max(0, math.ceil(booked + each - now - each * most))}
"""
SHA = sha1(GCRA.encode(), usedforsecurity=False).hexdigest()
log = structlog.get_logger(__name__)


class Drawn(Protocol):
    """What draws slices: a bucket."""

    name: str

    def order(self) -> tuple[float, int, int, int]:
        """Seconds to earn one request, the burst, how many are owed, how many are wanted."""

    def settle(self, owed: int, wanted: int, given: int, left: int, wait: float) -> None:
        """Take what a draw gave: `wait` is in seconds, until one more can be given."""

    def release(self) -> None:
        """Let those go on who wait for the draw."""


class Slices:
    """Draws slices from Redis, for all buckets of a process.

    Attributes:
        alone_until: the time (`time.monotonic()`) until which nobody asks Redis.
    """

    __slots__ = ("_cold", "_connect_seconds", "_drawing", "_redis", "_wanting", "alone_until")

    def __init__(self, redis: "Redis | None", connect_seconds: float = 2.0) -> None:
        self._redis = redis
        self._connect_seconds = connect_seconds
        self._cold = True
        self._wanting: dict[str, Drawn] = {}
        self._drawing: asyncio.Task[None] | None = None
        self.alone_until = 0.0 if redis else float("inf")

    def want(self, bucket: Drawn) -> None:
        """Have a slice drawn for a bucket, soon."""
        self._wanting[bucket.name] = bucket
        if self._drawing is None:
            self._drawing = asyncio.get_running_loop().create_task(self._draw_all())

    def rest(self, error: BaseException | None = None) -> None:
        """Leave Redis alone for a while."""
        now = time.monotonic()
        if now >= self.alone_until + REST_SECONDS:
            log.warning("Redis doesn't answer: each process counts requests for itself", cause=repr(error) if error else "slow")
        self.alone_until = now + REST_SECONDS

    async def aclose(self) -> None:
        """Draw no more."""
        if self._drawing:
            self._drawing.cancel()
            await asyncio.wait([self._drawing])
        if self._redis:
            await self._redis.aclose()

    async def _draw_all(self) -> None:
        try:
            while self._wanting:
                names = list(self._wanting)[:DRAWN_AT_ONCE]
                await self._draw([self._wanting.pop(name) for name in names])
        finally:
            self._drawing = None

    async def _draw(self, buckets: Sequence[Drawn]) -> None:
        orders = [bucket.order() for bucket in buckets]
        try:
            # A connection may take its time to be made, as nobody has to wait for it; an answer may not.
            async with asyncio.timeout(self._connect_seconds if self._cold else GIVE_UP_SECONDS):
                answers = await self._ask(buckets, orders)
        except Exception as error:  # noqa: BLE001  # a limit that can't be counted must never be a request's error
            self._cold = True
            self.rest(error)
        else:
            self._cold = False
            for bucket, (_, _, owed, wanted), (given, left, wait) in zip(buckets, orders, answers, strict=True):
                bucket.settle(owed, wanted, given, left, wait / 1e6)
        finally:
            for bucket in buckets:
                bucket.release()

    async def _ask(self, buckets: Sequence[Drawn], orders: Sequence[tuple[float, int, int, int]]) -> list[Any]:
        assert self._redis  # noqa: S101  # nobody wants a slice where there is none to draw from
        for _ in range(2):
            async with self._redis.pipeline(transaction=False) as pipe:
                for bucket, (each, most, owed, wanted) in zip(buckets, orders, strict=True):
                    pipe.evalsha(SHA, 1, bucket.name, str(each * 1e6), str(most), str(owed), str(wanted))
                answers = await pipe.execute(raise_on_error=False)
            failures = [answer for answer in answers if isinstance(answer, BaseException)]
            if not failures:
                return answers
            if not all(isinstance(failure, NoScriptError) for failure in failures):
                raise failures[0]
            await self._redis.script_load(GCRA)
        raise failures[0]
