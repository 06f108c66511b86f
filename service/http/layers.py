"""The outermost and the innermost of the pure ASGI layers around the routes; `service/app.py` puts all of them in their order.

They see every request before the framework does, and every answer after it. What layers tell each other stands in
`scope["state"]`: `id`, the request's; `fields`, its headers, the last one of each name; `added`, headers for the answer;
`caller`, who asks; `answers`, where an answer is counted, if not by its route; `problem`, what kind of problem it is. A layer that
only looks is a plain function that hands on what is inside: a coroutine of its own would cost more than looking.
"""

import random
from collections.abc import Awaitable, Iterable, Iterator
from time import perf_counter

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.db.gate import HELD, WAIT
from service.http import problems
from service.http.callers import caller_of
from service.http.requests import Requests
from service.telemetry.timing import TIMING, Timing

SECURITY = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"), (b"vary", b"Authorization")]
"""On every answer: what one key was answered is for no other. Strict-Transport-Security is for the proxy that speaks TLS."""
CACHING = (b"cache-control", b"private, no-cache")
CONTENT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
DEFAULTS = (CACHING, CONTENT)
"""On every answer that says nothing else of it."""
DEFAULTED = frozenset(name for name, _ in DEFAULTS)
ASKS_TIME = b"server-timing"
HEADED = "headed"
"""In the scope of a HEAD that is answered as GET."""
BEGUN = "begun"
"""In a request's state: when its answer began, where that goes on for as long as its client likes, which is no measure of work."""
FAILED, GONE = 500, 499
BUSY = 503
"""Refused, not failed. What is behind it is logged where that is more than too many requests; lines would make those worse."""
METHODS = frozenset({*problems.METHODS, "HEAD", "OPTIONS"})
"""What a line names; any other word is a client's own."""
FOUND = ("route", "fastapi")
"""What the framework notes of the route that it finds."""
log = structlog.get_logger(__name__)
Header = tuple[bytes, bytes]


class Answering:
    """Gives each request an id and each answer its headers; answers problems and mistakes; counts requests, and logs some or all.

    The id comes from no client: it stands in logs, and whoever could choose it could forge them. A request that says
    `Server-Timing`, and has a key, is told where its time went.

    Args:
        app: what is inside.
        every: one in so many requests is logged; 0: none.
        slow_ms: one that took so many milliseconds is logged anyway, and so is one that failed.
        requests: where they are counted.
    """

    def __init__(self, app: ASGIApp, every: int = 0, slow_ms: float = 1000.0, requests: Requests | None = None) -> None:
        self.app = app
        self._count = (requests or Requests()).count
        self._every = self._left = every
        self._slow_seconds = slow_ms / 1000
        source = random.SystemRandom()
        self._bits = random.Random(source.getrandbits(256)).getrandbits  # noqa: S311  # ids are no secrets
        self._middle = f"-{source.getrandbits(16):04x}-4{source.getrandbits(12):03x}-a{source.getrandbits(12):03x}-"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901  # calls cost more than they tell
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        digits = self._bits(80).to_bytes(10, "big").hex()  # half the time that formatting two numbers takes
        ours = digits[:8] + self._middle + digits[8:]
        state = scope.setdefault("state", {})
        state["id"] = "urn:uuid:" + ours
        fields = state["fields"] = dict(scope["headers"])
        added = state["added"] = [*SECURITY, (b"x-request-id", ours.encode())]
        status = size = 0
        if ASKS_TIME in fields:
            send = _timed(scope, send)

        def told(message: Message) -> Awaitable[None]:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                for name, _ in headers:
                    if name in DEFAULTED:
                        added.extend(_lacking(headers))
                        break
                else:
                    added.extend(DEFAULTS)
                message["headers"] = [*headers, *added]
            elif message["type"] == "http.response.body":
                size += len(message["body"])
            return send(message)

        began = perf_counter()
        try:
            await self.app(scope, receive, told)
        except Exception as error:
            if status:
                raise  # half an answer is out: all that's left is to break off
            await _answer(error, scope, receive, told)
        finally:
            took = state.get(BEGUN, 0.0) or perf_counter()
            took -= began
            self._count(scope, status, took)
            self._left -= 1
            if not self._left or (status >= FAILED and status != BUSY) or took >= self._slow_seconds:
                self._log(scope, status, size, took)

    def _log(self, scope: Scope, status: int, size: int, took: float) -> None:
        """One line, without values: neither those of the URL nor of the body."""
        if not self._left:
            self._left = self._every
        log.info(
            "request",
            method=scope["method"] if scope["method"] in METHODS else "other",
            route=problems.route_of(scope),
            status=status or GONE,
            ms=round(took * 1000, 2),
            bytes=size,
            key=caller_of(scope).key or None,
            instance=scope["state"]["id"],
        )


def _timed(scope: Scope, send: Send) -> Send:
    """Tell where a request's time went, to who has a key: how long others keep the service busy is nobody else's business."""
    timing = Timing(WAIT, HELD)
    TIMING.set(timing)  # of this request's task alone: the server makes one for each

    async def timed(message: Message) -> None:
        if message["type"] == "http.response.start" and caller_of(scope).key:
            message["headers"] = [*message["headers"], (b"server-timing", timing.header())]
        await send(message)

    return timed


class Heading:
    """Answers HEAD as GET without the body, for every route that has a GET."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return self.app(scope, receive, send)

        return self._head(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def bare(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        as_get = {**scope, "method": "GET", HEADED: True}
        try:
            await self.app(as_get, receive, bare)
        finally:
            scope.update((name, as_get[name]) for name in FOUND if name in as_get)


def _lacking(headers: Iterable[Header]) -> Iterator[Header]:
    """The defaults that headers leave open."""
    names = {name for name, _ in headers}
    return (header for header in DEFAULTS if header[0] not in names)


async def _answer(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    response = problems.of_mistake(Request(scope), error)
    if scope["method"] == "HEAD":
        response.body = b""
    await response(scope, receive, send)
