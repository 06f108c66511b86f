"""What happens when more is asked than can be done: this service beside plain FastAPI over SQLAlchemy's pool.

    python -m bench.overload --seconds 10

(a) ten times as many requests as the database can answer, each of which holds a connection; (b) twice as many as the processor can,
with and without shedding by the event loop's lag. Requests arrive at fixed moments, however slowly they are answered.

Goodput is what was answered 200 within a second, each second, as a part of the capacity: what is answered to as many clients as can
be served at once, who ask again as soon as they are answered. `accepted` and `refused` are the 99th percentiles of answers 200 and
503, `normal` is after how many seconds a second went by without a refusal or a slow answer, at half the capacity.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from bench.arrivals import OK, Clients, Outcome
from bench.overloaded import HOLD_MS
from bench.servers import own_database, server
from service import migrations
from service.cli.sampling import sampled

PERMITS = 4
BUSY = 503
IN_TIME_SECONDS = 1.0
BOOKS = 2000
SLOW = f"/slow?ms={HOLD_MS}"
LIST = "/v1/books?limit=50&include=author"
DATABASE = {
    f"(a) {PERMITS} x {HOLD_MS} ms, with the gate": "bench.overloaded:gated",
    "(a) the same, plain FastAPI and SQLAlchemy": "bench.overloaded:plain",
}
PROCESSOR: dict[str, dict[str, str]] = {"(b) a list, shed by lag": {}, "(b) the same, not shed": {"SHELFMARK_LAG_MS": "10000"}}
WINDOW_SECONDS = 1.0
AFTER_SECONDS = 5.0
CALM = 0.5
SLOW_SECONDS = 0.05
START_SECONDS = 20.0
ENVIRONMENT = {
    "SHELFMARK_SECRETS": "bench" * 8,
    "SHELFMARK_PUBLIC_READ": "books,authors",
    "SHELFMARK_ADDRESS_REQUESTS_PER_SECOND": "0",
    "SHELFMARK_READ_POOL_SIZE": str(PERMITS),
    "SHELFMARK_WRITE_POOL_SIZE": "1",
    "SHELFMARK_LOG_LEVEL": "error",
}
KEEP_ALIVE_SECONDS = "75"
"""As the service's own server has it. A connection that is closed while a request is on its way looks like a lost answer."""


@dataclass(frozen=True)
class Overload:
    """What an overload did.

    Attributes:
        title: of what.
        capacity: answers each second that it gives to as many clients as it can serve at once: the mean of before and after.
        calm: the 99th percentile of those before, in seconds.
        offered: requests each second.
        outcome: of the overload.
        recovered: seconds after it until a second began in which nothing was refused or slow; infinity: none did.
    """

    title: str
    capacity: float
    calm: float
    offered: float
    outcome: Outcome
    recovered: float

    @property
    def goodput(self) -> float:
        """The part of the capacity that was answered in time."""
        return self.outcome.good(IN_TIME_SECONDS) / self.capacity

    @property
    def accepted(self) -> float:
        """The 99th percentile of what was answered 200, in seconds."""
        return self.outcome.quantile(0.99, OK)

    @property
    def refused(self) -> float:
        """The 99th percentile of the refusals, in seconds."""
        return self.outcome.quantile(0.99, BUSY)

    @property
    def unanswered(self) -> float:
        """The part that was answered neither 200 nor 503: within 30 seconds not at all, or by another error."""
        found = self.outcome.answered
        return 1 - (found[OK] + found[BUSY]) / found.total()

    @property
    def _normal(self) -> str:
        return f"{self.recovered:.1f} s" if self.recovered < AFTER_SECONDS else f"> {AFTER_SECONDS:.0f} s"

    def __str__(self) -> str:
        return (
            f"{self.title:<46}{self.capacity:>7,.0f}/s{self.offered:>7,.0f}/s{self.goodput:>9.0%}{self.calm * 1000:>8,.0f} ms"
            f"{self.accepted * 1000:>8,.0f} ms{self.refused * 1000:>8,.1f} ms{self.unanswered:>12.0%}{self._normal:>10}"
        )


HEAD = (
    f"{'':<46}{'capacity':>9}{'offered':>9}{'goodput':>9}{'p99 calm':>11}{'accepted':>11}{'refused':>11}"
    f"{'unanswered':>12}{'normal':>10}"
)


@asynccontextmanager
async def serving(factory: str, environment: Mapping[str, str]) -> AsyncIterator[int]:
    """The port of a process that serves an application.

    Raises:
        RuntimeError: it doesn't come up.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    options = ["--factory", factory, "--port", str(port), "--loop", "uvloop", "--http", "httptools", "--log-level", "error"]
    options += ["--timeout-graceful-shutdown", "1"]
    process = subprocess.Popen(  # noqa: S603, ASYNC220  # our own application; it returns at once
        [sys.executable, "-m", "uvicorn", "--no-access-log", "--timeout-keep-alive", KEEP_ALIVE_SECONDS, *options],
        env={**os.environ, **ENVIRONMENT, **environment},
        stderr=subprocess.DEVNULL,  # plain FastAPI writes a trace for each timeout
    )
    try:
        await _up(port, process)
        yield port
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _up(port: int, process: "subprocess.Popen[bytes]") -> None:
    began = perf_counter()
    while perf_counter() - began < START_SECONDS and process.poll() is None:
        outcome = Outcome()
        clients = Clients(port, "/livez")
        await clients.ask(outcome)
        clients.close()
        if 0 not in outcome.answered:
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("the application doesn't come up")


async def overload(title: str, port: int, path: str, *, at_once: int, times: float, seconds: float) -> Overload:
    """Measure what can be done, ask for a multiple of it, and see how soon all is well again."""
    clients = Clients(port, path)
    await clients.closed_loop(at_once, 1.0)
    calm = await clients.closed_loop(at_once, 3.0)
    before = calm.good()
    outcome = await clients.open_loop(times * before, seconds)
    ended = perf_counter()
    after = await clients.open_loop(CALM * before, AFTER_SECONDS)
    again = await clients.closed_loop(at_once, 3.0)
    clients.close()
    usual = calm.quantile(0.99, OK)
    recovered = after.began - ended + _calm_from(after, max(3 * usual, SLOW_SECONDS))
    return Overload(title, (before + again.good()) / 2, usual, times * before, outcome, recovered)


def _calm_from(after: Outcome, slow: float) -> float:
    """Seconds until a window began in which all went well, by when it was asked for."""
    asked = [(ended - took, status != OK or took > slow) for status in after.ended for ended, took in after.of(status)]
    troubles = sorted(when for when, trouble in asked if trouble)
    starts = [0.0, *troubles]
    ends = [*troubles, after.lasted]
    return next((start for start, end in zip(starts, ends, strict=True) if end - start >= WINDOW_SECONDS), float("inf"))


async def run(url: str, seconds: float) -> list[Overload]:
    """All of it, against a server."""
    async with own_database(url) as database:
        await asyncio.to_thread(migrations.upgrade, database)
        await asyncio.to_thread(sampled, database, BOOKS, datetime.now(UTC).date())
        found = []
        for title, factory in DATABASE.items():
            async with serving(factory, {"DATABASE_URL": database}) as port:
                found.append(await overload(title, port, SLOW, at_once=PERMITS, times=10, seconds=seconds))
        for title, environment in PROCESSOR.items():
            async with serving("bench.overloaded:gated", {"DATABASE_URL": database, **environment}) as port:
                found.append(await overload(title, port, LIST, at_once=32, times=2, seconds=seconds))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each overload lasts (default 10)")
    parser.add_argument("--server", help="URL of a PostgreSQL to use; by default one of its own")
    chosen = parser.parse_args()
    with server(chosen.server) as url:
        found = asyncio.run(run(url, chosen.seconds))
    print("\n".join([HEAD, *map(str, found)]))  # noqa: T201


if __name__ == "__main__":
    main()
