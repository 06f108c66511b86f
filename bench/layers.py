"""What the layers around the routes cost: a constant answer with them and without, called in this process, without HTTP.

    python -m bench.layers

Processor time in microseconds per request, above the bare application: the median of five rounds in which all are called in turn,
a few hundred requests at a time, so that what else the machine does meets all of them alike.
The request's key is known already, the limiter's slice is local, access lines are sampled as by default. What one layer costs is
what it and the layers outside of it cost, less what those cost without it.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import create_app
from service.http.callers import Caller
from service.http.keyring import Keyring, Known
from service.http.limits import Limits
from service.http.tokens import Signatures, new
from service.settings import load
from service.telemetry import configure_logging

BUDGET_MICROSECONDS = 15.0
ROUNDS, REQUESTS, TOGETHER, TURN = 5, 10_000, 250, 20
SECRET, PREFIX, TOKEN = "bench" * 8, "bench", new()
KEY = (b"authorization", b"Bearer " + TOKEN.encode())
BODY = b'{"id":1,"title":"Trollkarlens hatt","author_id":7,"language":"swe","published_year":1948}'
ANSWER = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY)), (b"etag", b'"1-0a1b2c3d"')]
REQUEST = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"bench"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    KEY,
]


async def constant(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # what an application is
    """Answer the same row to everybody."""
    await send({"type": "http.response.start", "status": 200, "headers": ANSWER})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


def stacked(layers: list[Middleware]) -> ASGIApp:
    """The constant answer inside of layers, the outermost first."""
    app: ASGIApp = constant
    for cls, args, kwargs in reversed(layers):
        app = cls(app, *args, **kwargs)
    return app


async def measured(apps: Mapping[str, ASGIApp], rounds: int, requests: int) -> dict[str, float]:
    """Name -> microseconds of processor time per request: the median of the rounds."""
    found: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(rounds):
        spent = dict.fromkeys(apps, 0.0)
        for done in range(0, requests, TOGETHER):
            for name, app in apps.items():
                spent[name] += await _spent(app, min(TOGETHER, requests - done))
        for name, seconds in spent.items():
            found[name].append(seconds / requests * 1e6)
    return {name: statistics.median(times) for name, times in found.items()}


async def _spent(app: ASGIApp, requests: int) -> float:
    """Seconds of processor time for so many requests."""
    began = time.process_time()
    for number in range(requests):
        await app(_scope(), _receive, _send)
        if number % TURN == 0:
            await asyncio.sleep(0)  # timers have their turn, as they have in a server
    return time.process_time() - began


async def costs(rounds: int = ROUNDS, requests: int = REQUESTS) -> dict[str, float]:
    """Layer -> microseconds above what is outside of it; `all` for all together, above the bare application."""
    given = {"database_url": "postgresql://nobody@/nothing", "secrets": SECRET, "hosts": "127.0.0.1", "express_lane": False}
    app = create_app(load(_env_file=None, **given))
    layers: list[Middleware] = app.user_middleware
    _know(app.state.keyring)
    _prepare(app.state.limits)
    stacks = {_name(layer): stacked(layers[: number + 1]) for number, layer in enumerate(layers)}
    found = await measured({"bare": constant} | stacks, rounds, requests)
    each = {name: found[name] - before for name, before in zip(stacks, found.values(), strict=False)}
    return each | {"all": found[_name(layers[-1])] - found["bare"]}


def _name(layer: Middleware) -> str:
    return str(getattr(layer.cls, "__name__", layer.cls))


def _know(keyring: Keyring) -> None:
    """A key that was confirmed, and is for as long as this lasts."""
    signed = Signatures([SECRET.encode()]).sign(TOKEN.encode())
    ever = float("inf")
    keyring.known[KEY[1]] = Known(TOKEN.encode(), signed, Caller(PREFIX, frozenset({"books:read"})), until=ever, used=0.0)


def _prepare(limits: Limits) -> None:
    """A slice that is local and doesn't end."""
    limits.slices.alone_until = 0.0
    assert limits.keys is not None  # noqa: S101  # on by default
    bucket = limits.keys.of(PREFIX)
    bucket.tokens, bucket.until = 10**9, float("inf")


def _scope() -> Scope:
    """A request as the server makes it."""
    return {
        "type": "http",
        "method": "GET",
        "path": "/v1/books/1",
        "raw_path": b"/v1/books/1",
        "query_string": b"",
        "root_path": "",
        "headers": REQUEST,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    """Send it nowhere."""


def main(arguments: Any = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="What the layers cost.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    given = parser.parse_args(arguments)
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        configure_logging(load(_env_file=None))
        found = asyncio.run(costs(given.rounds, given.requests))
    for name, cost in found.items():
        print(f"{name:12} {cost:6.2f} µs")  # noqa: T201  # a command
    print(f"{'budget':12} {BUDGET_MICROSECONDS:6.2f} µs")  # noqa: T201


if __name__ == "__main__":
    main()
