"""F8: SIGTERM under load. No accepted request is dropped, the process has drained within 10 s, and `/readyz` says no first."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.faults.figures import Figures, fault
from tests.faults.served import Serving, served
from tests.fixtures.processes import PATIENCE_SECONDS, Running

CLIENTS = 16
GET = b"GET %s HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


@dataclass
class Seen:
    """What the clients met.

    Attributes:
        answers: status -> how many.
        dropped: requests on a connection that was taken, without an answer.
        unready: when `/readyz` first said no.
        refused: when a connection was refused first.
    """

    answers: Counter[int] = field(default_factory=Counter)
    dropped: int = 0
    unready: float = float("inf")
    refused: float = float("inf")


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: bytes) -> tuple[int, bool]:
    """The status of an answer that came whole, and whether the connection may be used again."""
    writer.write(GET % path)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    await reader.readexactly(int(fields[b"content-length"]))
    return int(head.split()[1]), fields.get(b"connection") != b"close"


async def calls(port: int, path: bytes, seen: Seen) -> None:
    """Call again and again, on one connection for as long as it is kept, until no connection is to be had."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            seen.refused = min(seen.refused, time.monotonic())
            return
        kept = True
        try:
            while kept:
                status, kept = await exchange(reader, writer, path)
                seen.answers[status] += 1
                if path == b"/readyz" and status != 200:
                    seen.unready = min(seen.unready, time.monotonic())
        except (ConnectionError, asyncio.IncompleteReadError):
            seen.dropped += 1
        finally:
            writer.close()


@pytest.mark.slow
@fault(
    "F8",
    done="SIGTERM to one process, or to the parent of two, under load, while a slow read is under way",
    holds="no accepted request is dropped; drained within 10 s; /readyz says no before connections are refused",
)
@pytest.mark.parametrize("processes", [pytest.param("1", id="one process"), pytest.param("2", id="two processes")])
async def test_sigterm_under_load(processes: str, database_url: str, figures: Figures) -> None:
    environment = {"WEB_CONCURRENCY": processes, "SHELFMARK_PUBLIC_READ": "books"}
    with served(database_url, **environment) as serving:
        seen, began, ended, late = await _terminated(serving, database_url)
        code = serving.run.process.wait()
    figures.tell(f"{seen.dropped} of {seen.answers.total():,} requests dropped, the slow one answered {late}")
    figures.tell(
        f"unready after {seen.unready - began:.2f} s, no connections after {seen.refused - began:.2f} s, "
        f"ended after {ended - began:.2f} s"
    )
    assert seen.dropped == 0
    assert seen.answers[200] > 100
    assert set(seen.answers) <= {200, 503}
    assert began < seen.unready < seen.refused
    assert late == 200
    assert ended - began <= 10
    assert code == 0


async def _terminated(serving: Serving, database_url: str) -> tuple[Seen, float, float, int]:
    """What happened, when the signal was sent, when the service had ended, and the status of a request that took its time."""
    seen, engine = Seen(), create_async_engine(database_url, poolclass=NullPool)
    async with asyncio.timeout(PATIENCE_SECONDS), engine.connect() as connection:
        load = [asyncio.ensure_future(calls(serving.port, path, seen)) for path in (b"/readyz", *[b"/livez"] * CLIENTS)]
        await _until(lambda: seen.answers.total() > 200)
        await connection.execute(text("LOCK TABLE books IN ACCESS EXCLUSIVE MODE"))
        slow = asyncio.ensure_future(_once(serving.port, b"/v1/books?limit=1"))
        await _waits(connection)
        began = time.monotonic()
        os.kill(serving.run.process.pid, signal.SIGTERM)
        await _until(lambda: seen.refused < float("inf"))
        await connection.rollback()
        late = await slow
        await asyncio.gather(*load)
        await _until(lambda: _ended(serving.run))
    await engine.dispose()
    return seen, began, time.monotonic(), late


async def _once(port: int, path: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await exchange(reader, writer, path))[0]
    finally:
        writer.close()


async def _waits(connection: AsyncConnection) -> None:
    """Until a statement waits for the table."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'books'::regclass")
    while not (await connection.execute(waiting)).scalar_one():  # noqa: ASYNC110  # likewise
        await asyncio.sleep(0.01)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # what happens in another process sets no event
        await asyncio.sleep(0.01)


def _ended(run: Running) -> bool:
    return run.process.poll() is not None
