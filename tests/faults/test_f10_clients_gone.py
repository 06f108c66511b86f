"""F10: a thousand clients gone in the middle of their query. No permit is lost, and nothing of theirs runs on."""

import asyncio
from dataclasses import dataclass
from time import monotonic

import pytest

from tests.db.storms import at_work
from tests.faults.figures import Figures, fault
from tests.faults.inside import Inside, inside
from tests.faults.machine import Machine, watched
from tests.waiting import until

READS, WRITES = 16, 4
ROUNDS = 50
CALM_SECONDS = 1.0
REQUEST = "{method} /sleep?seconds=30 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"


async def asking(port: int, method: str) -> asyncio.StreamWriter:
    """A client that has asked, and waits."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST.format(method=method).encode())
    await writer.drain()
    return writer


@dataclass(frozen=True)
class Gone:
    """What became of some who left.

    Attributes:
        free: seconds until every permit was free.
        still: seconds until nothing of theirs ran.
        late: seconds by which the machine itself was late meanwhile.
    """

    free: float
    still: float
    late: float

    @property
    def above(self) -> float:
        """Seconds that it took besides."""
        return max(self.free, self.still) - self.late


async def gone(url: str, here: Inside, machine: Machine, reads: int, writes: int) -> Gone:
    """Let so many ask, and leave once as many statements run as can."""
    clients = [await asking(here.port, "GET") for _ in range(reads)] + [await asking(here.port, "POST") for _ in range(writes)]
    running = min(reads, READS) + min(writes, WRITES)
    await until(lambda: _works(url, running))
    left = monotonic()
    for client in clients:
        client.transport.abort()
    await until(here.whole)
    free = monotonic() - left
    await until(lambda: _works(url, 0))
    return Gone(free, monotonic() - left, machine.stood(left, monotonic()))


async def _works(url: str, number: int) -> bool:
    return await at_work(url) == number


async def go_through(url: str, rounds: int, crowd: int) -> tuple[list[Gone], Gone, Inside]:
    """Rounds of clients who all have a statement running, then a crowd of whom most wait for their turn."""
    limits: dict[str, object] = {"read_pool_size": READS, "write_pool_size": WRITES, "pool_wait_seconds": 60.0, "queue_most": 2000}
    limits |= {"request_timeout_seconds": 60.0, "read_timeout_ms": 60_000, "write_timeout_ms": 60_000}
    with watched() as machine:
        async with inside(url, **limits) as here:
            found = [await gone(url, here, machine, READS, WRITES) for _ in range(rounds)]
            last = await gone(url, here, machine, crowd - WRITES, WRITES)
    return found, last, here


async def test_clients_leave(empty_database: str) -> None:
    found, crowd, here = await go_through(empty_database, 3, 60)
    assert max(one.above for one in (*found, crowd)) <= CALM_SECONDS
    assert here.whole()


@pytest.mark.slow
@fault(
    "F10",
    done="1,000 clients leave in the middle of their query, 20 at a time; then 1,000 at once, of whom most wait for their turn",
    holds="after 1 s every permit is free and nothing of theirs runs or is idle in a transaction",
)
async def test_a_thousand_clients_leave(empty_database: str, figures: Figures) -> None:
    found, crowd, here = await go_through(empty_database, ROUNDS, 1000)
    free, still = max(one.free for one in found), max(one.still for one in found)
    figures.tell(f"20 at a time: permits free after {free:.2f} s, nothing runs after {still:.2f} s at the latest")
    figures.tell(f"1,000 at once: {crowd.free:.2f} s and {crowd.still:.2f} s, of which the machine was late {crowd.late:.2f} s")
    figures.tell(f"{here.database.reads.mended:,} connections mended, {here.database.writes.closed:,} closed; none leaked")
    assert max(one.above for one in (*found, crowd)) <= CALM_SECONDS
    assert here.whole()
