"""How many requests an API key may make, or an address without one: so many each second in the long run, so many at once.

One number is kept for each in Redis, on Redis's clock, for all processes together (`slices.py`). A process takes a slice of it
ahead of time, or goes into debt for a few requests, so that the common request is decided here, in a microsecond. Whatever the
processes do, no more are answered in any time than the limit allows and one slice for each process. Without Redis each process
counts for itself.

Of dear requests (`costs.py`) few are answered at the same time.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from time import monotonic

from redis.asyncio import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Overloaded, TooManyRequests
from service.http.addresses import Addresses
from service.http.callers import NOBODY, caller_of
from service.http.costs import ROW, Kind, kind_of
from service.http.slices import GIVE_UP_SECONDS, Slices
from service.settings import Settings

BUCKETS_MOST = 10_000
SLICE_SECONDS = 1.0
"""After which what is left of a slice is worth nothing: it was counted in Redis when it was drawn."""
PAUSE_SECONDS = 0.01
"""Between two draws of a bucket that is empty."""
PATIENCE = 3
"""Draws that a request waits for, while others take what they bring."""
BUSY = "So many searches, batches and streamed exports are running that this one wasn't begun. Try again in a moment."
YOURS = "{each} searches, batches and streamed exports of yours are running; this {kind} would be one more. Wait for one to end."
STREAMS_BUSY = "So many streams are open that this one wasn't begun. Try again in a moment."
STREAMS_YOURS = "{each} streams of yours are open; this would be one more. Close one, or ask for the job itself now and then."
ASK = -1.0
DEAR, DEAR_EACH, STREAMS, STREAMS_EACH = "dear", "dear_each", "streams", "streams_each"


class Limit:
    """So many requests each second, so many at once.

    Attributes:
        each: seconds in which one request is earned.
        credit: requests that one process may owe Redis.
        hold: requests that one process may have drawn from it: together its slice.
        spent: the headers of an answer when nothing is left.
    """

    __slots__ = ("burst", "credit", "each", "hold", "policy", "rate", "spent", "told", "who")

    def __init__(self, who: str, rate: float, burst: int, ahead: int) -> None:
        ahead = max(1, min(ahead, burst // 10))
        self.who, self.rate, self.burst = who, rate, burst
        self.each = 1 / rate
        self.credit = ahead // 4
        self.hold = ahead - self.credit
        self.policy = (b"ratelimit-policy", f'"{who}";q={burst};w={math.ceil(burst / rate)}'.encode())
        self.told = f'"{who}";r=%d;t=%d'.encode()
        self.spent = (b"ratelimit", self.told % (0, burst // rate + 1)), self.policy


class Bucket:
    """One key's, or one address's, requests.

    Attributes:
        tokens: requests drawn and not spent; below zero: spent and not drawn yet.
        until: when what was drawn expires.
        closed: until when Redis has nothing to give.
        step: what the next draw takes: more each time, as long as all of it is spent before it expires.
        left: what Redis had left at the last draw.
        need: what requests that wait for a draw want of it.
        booked: when all that this process has answered will have been earned: what counts without Redis.
    """

    __slots__ = ("_drawing", "booked", "closed", "left", "limit", "low", "name", "need", "step", "tokens", "until", "waiting")

    def __init__(self, name: str, limit: Limit) -> None:
        self.name, self.limit = name, limit
        self.tokens = self.step = self.low = self.need = 0
        self.until = self.closed = self.booked = 0.0
        self.left = limit.burst
        self.waiting: asyncio.Future[None] | None = None
        self._drawing: asyncio.Future[None] | None = None

    def take(self, cost: int, now: float) -> float:
        """Spend from the slice, or on credit: 0 if that could be, else the seconds to wait, or ASK where only Redis knows."""
        if now > self.until:
            self.step = 0
            self.tokens = min(self.tokens, 0)
        left = self.tokens - cost
        if left >= 0 or (left >= -self.limit.credit and now >= self.closed):
            self.tokens = left
            return 0.0
        return self.closed - now + (cost - 1) * self.limit.each if now < self.closed else ASK

    def take_alone(self, cost: int, now: float) -> float:
        """Spend without Redis: 0 if that could be, else the seconds to wait."""
        booked = max(self.booked, now) + cost * self.limit.each
        late = booked - now - self.limit.burst * self.limit.each
        if late > 1e-9:  # noqa: PLR2004  # what adding up floats may cost
            return late
        self.booked = booked
        self.left = int(-late / self.limit.each) - self.tokens
        return 0.0

    def told(self) -> tuple[tuple[bytes, bytes], ...]:
        """What is left, for the answer: the headers of the IETF's draft on rate limits, as far as this process knows."""
        limit = self.limit
        left = min(self.tokens + self.left, limit.burst)  # what was left at a draw may have been earned and drawn again meanwhile
        if left < 0:
            return limit.spent
        return (b"ratelimit", limit.told % (left, (limit.burst - left) // limit.rate + 1)), limit.policy

    def order(self) -> tuple[float, int, int, int]:
        """What to draw: seconds to earn one request, the burst, how many are owed, how many are wanted."""
        wanted = max(self.need, min(self.step, self.limit.hold - max(0, self.tokens)))
        self.need, self.step = 0, min(self.limit.hold, self.step * 2 + 1)
        self._drawing, self.waiting = self.waiting, None
        return self.limit.each, self.limit.burst, max(0, -self.tokens), wanted

    def settle(self, owed: int, wanted: int, given: int, left: int, wait: float) -> None:
        """Take what a draw gave."""
        now = monotonic()
        self.tokens += owed + given
        self.booked = max(self.booked, now) + (owed + given) * self.limit.each
        self.until = now + SLICE_SECONDS
        self.low = given // 2
        self.left = max(0, left)
        if given < wanted or left <= 0:
            self.closed = now + max(wait, PAUSE_SECONDS)

    def release(self) -> None:
        """Let those go on who wait for the draw."""
        if self._drawing:
            self._drawing.set_result(None)
        self._drawing = None


class Buckets:
    """The buckets of one limit; of too many, the one that was used the longest ago is forgotten."""

    __slots__ = ("_found", "_prefix", "limit")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._prefix = f"shelf:limit:{limit.who}:"
        self._found: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def of(self, who: str) -> Bucket:
        """The bucket of a key or an address."""
        found = self._found
        bucket = found.get(who)
        if bucket is None:
            bucket = found[who] = Bucket(self._prefix + who, self.limit)
            if len(found) > BUCKETS_MOST:
                found.popitem(last=False)
        else:
            found.move_to_end(who)
        return bucket


class Limits:
    """What one process knows of everybody's requests.

    Attributes:
        refused: how many were refused, by the limit that they came to.
    """

    def __init__(self, settings: Settings, redis: "Redis | None" = None) -> None:
        self.addresses = Addresses(settings.trusted_proxies)
        self.slices = Slices(redis, settings.connect_timeout_seconds)
        ahead = settings.limit_slice
        self.keys = _buckets("key", settings.key_requests_per_second, settings.key_requests_burst, ahead)
        self.strangers = _buckets("address", settings.address_requests_per_second, settings.address_requests_burst, ahead)
        self.dear = Dear(settings.dear_requests_most, settings.dear_requests_most_each)
        self.streams = Dear(settings.streams_most, settings.streams_most_each, STREAMS_BUSY, STREAMS_YOURS)
        self.refused: Counter[str] = Counter()

    def bucket_of(self, scope: Scope) -> Bucket | None:
        """Whose requests these are; None where nobody counts them."""
        key = scope["state"].get("caller", NOBODY).key
        if key:
            return None if self.keys is None else self.keys.of(key)
        return None if self.strangers is None else self.strangers.of(self.addresses.name_of(scope))

    def name_of(self, scope: Scope) -> str:
        """Who asks: a key, or an address."""
        return caller_of(scope).key or self.addresses.name_of(scope)

    async def ask(self, bucket: Bucket, cost: int) -> float:
        """Wait for a draw, but not for long: 0 if the request may be answered then, else the seconds to wait."""
        for _ in range(PATIENCE):
            if monotonic() < self.slices.alone_until:
                return bucket.take_alone(cost, monotonic())
            bucket.need = min(bucket.need + cost, bucket.limit.burst)
            waiting = bucket.waiting = bucket.waiting or asyncio.get_running_loop().create_future()
            self.slices.want(bucket)
            if not (await asyncio.wait([waiting], timeout=GIVE_UP_SECONDS))[0]:
                self.slices.rest()
                return bucket.take_alone(cost, monotonic())
            wait = bucket.take(cost, monotonic())
            if wait != ASK:
                return wait
        return cost * bucket.limit.each

    def refusal(self, limit: Limit, kind: Kind, wait: float) -> TooManyRequests:
        """What is said to who has to wait for so many seconds, who is counted."""
        self.refused[limit.who] += 1
        return refusal(limit, kind, wait)

    @contextmanager
    def stream(self, who: str) -> Iterator[None]:
        """A stream that is open for as long as the block lasts.

        Raises:
            TooManyRequests: too many are open for the same client.
            Overloaded: too many are open in all.
        """
        try:
            self.streams.enter(who, ROW)
        except (TooManyRequests, Overloaded) as problem:
            self.refused[STREAMS if isinstance(problem, Overloaded) else STREAMS_EACH] += 1
            raise
        try:
            yield
        finally:
            self.streams.leave(who)

    async def aclose(self) -> None:
        """Count no more."""
        await self.slices.aclose()


class Dear:
    """How many dear requests are being answered, in all and for each.

    Args:
        most: in all.
        each: for one client.
        busy: what is said where that is too many in all.
        yours: what is said where it is too many for the client.
    """

    __slots__ = ("_busy", "_each", "_most", "_running", "_yours")

    def __init__(self, most: int, each: int, busy: str = BUSY, yours: str = YOURS) -> None:
        self._most, self._each, self._busy, self._yours = most, each, busy, yours
        self._running: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._running.total()

    def enter(self, who: str, kind: Kind) -> None:
        """Begin one; `leave` ends it.

        Raises:
            TooManyRequests: too many run for the same client.
            Overloaded: too many run in all.
        """
        if self._running[who] >= self._each:
            raise TooManyRequests(self._yours.format(each=self._each, kind=kind.name), 1)
        if self._running.total() >= self._most:
            raise Overloaded(self._busy)
        self._running[who] += 1

    def leave(self, who: str) -> None:
        """End one."""
        self._running[who] -= 1
        if not self._running[who]:
            del self._running[who]


class Limiting:
    """Answers no more requests than the limits allow, and says in each answer how many are left."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Count a request, and pass it on."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        kind = kind_of(scope)
        cost = kind.cost
        if cost:
            limits = self.limits
            bucket = limits.bucket_of(scope)
            if bucket is not None:
                now = monotonic()
                if cost > bucket.limit.burst:  # noqa: PLR1730  # min() would cost a tenth of all that is done here
                    cost = bucket.limit.burst
                if now < limits.slices.alone_until:
                    wait = bucket.take_alone(cost, now)
                else:
                    wait = bucket.take(cost, now)
                    if wait == ASK:
                        return self._ask(bucket, kind, scope, receive, send)
                    if bucket.tokens < bucket.low and now >= bucket.closed:
                        limits.slices.want(bucket)
                scope["state"]["added"] += bucket.told()
                if wait:
                    raise limits.refusal(bucket.limit, kind, wait)
        return self._dear(kind, scope, receive, send) if kind.dear else self.app(scope, receive, send)

    async def _ask(self, bucket: Bucket, kind: Kind, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait until it is known whether a request may be answered."""
        wait = await self.limits.ask(bucket, min(kind.cost, bucket.limit.burst))
        scope["state"]["added"] += bucket.told()
        if wait:
            raise self.limits.refusal(bucket.limit, kind, wait)
        await (self._dear(kind, scope, receive, send) if kind.dear else self.app(scope, receive, send))

    async def _dear(self, kind: Kind, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a dear request, if not too many are being answered."""
        who = self.limits.name_of(scope)
        try:
            self.limits.dear.enter(who, kind)
        except (TooManyRequests, Overloaded) as problem:
            self.limits.refused[DEAR if isinstance(problem, Overloaded) else DEAR_EACH] += 1
            raise
        try:
            await self.app(scope, receive, send)
        finally:
            self.limits.dear.leave(who)


def refusal(limit: Limit, kind: Kind, wait: float) -> TooManyRequests:
    """What is said to who has to wait for so many seconds."""
    whose = "this API key" if limit.who == "key" else "this address, without an API key,"
    seconds = max(1, math.ceil(wait))
    return TooManyRequests(
        f"In the long run {whose} may make {limit.rate:g} requests a second, and at most {limit.burst} at once; "
        f"a {kind.name} counts as {kind.cost}. Try again in {seconds} s.",
        seconds,
    )


def _buckets(who: str, rate: float, burst: int, ahead: int) -> Buckets | None:
    return Buckets(Limit(who, rate, burst, ahead)) if rate else None
