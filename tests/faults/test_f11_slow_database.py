"""F11: the database 200 ms further away. What can't be done in time is refused, no queue grows, and the waiting can be seen."""

import asyncio

import pytest

from bench.arrivals import OK, Clients
from service.db.gate import BOUNDS, Gate
from tests.faults.figures import Figures, fault
from tests.faults.inside import Inside, inside
from tests.faults.postgres import own_postgres, prepared
from tests.faults.proxy import proxied

READS = 6
DELAY_SECONDS = 0.2
BUSY = 503
RATE, SECONDS = 150.0, 6.0
PATIENCE_SECONDS = 0.5
SLACK_SECONDS = 0.05
ROUND_TRIPS = 5
"""A statement that is new to its connection takes three; the others are for a busy machine."""
LIST = "/v1/authors?limit=5"


async def queued(here: Inside, seen: list[int]) -> None:
    """Look at the queue again and again."""
    while True:
        seen.append(here.database.reads.gate.queued)
        await asyncio.sleep(0.01)


def shed(gate: Gate) -> str:
    """How many were refused, and why."""
    why = ", ".join(f"{number} for the {reason}" for reason, number in gate.sheds.items() if number)
    return f"{why}, {gate.timeouts} waited in vain"


@pytest.mark.slow
@fault(
    "F11",
    done="the database is 200 ms further away, for 6 s, while five times as many requests come as it can answer then",
    holds="what can't be done in time is refused; no more wait than come in the time that one may wait; the histogram shows it",
)
async def test_the_database_is_far_away(figures: Figures) -> None:
    seen: list[int] = []
    with own_postgres() as postgres:
        await prepared(postgres)
        async with proxied(postgres.socket) as proxy:
            limits: dict[str, object] = {"read_pool_size": READS, "pool_wait_seconds": PATIENCE_SECONDS, "public_read": "authors"}
            async with inside(postgres.through(proxy.port), **limits) as here:
                clients = Clients(here.port, LIST)
                await clients.closed_loop(READS, 1.0)
                proxy.delay_seconds = DELAY_SECONDS
                watcher = asyncio.create_task(queued(here, seen))
                far = await clients.open_loop(RATE, SECONDS)
                watcher.cancel()
                proxy.delay_seconds = 0.0
                after = await clients.open_loop(RATE / 5, 2.0)
                gate = here.database.reads.gate
                clients.close()
    waited = sum(number for bound, number in zip(BOUNDS, gate.waits, strict=False) if bound > DELAY_SECONDS / 2)
    figures.tell(f"{far.good():.0f} of {RATE:.0f} a second answered, p99 {far.quantile(0.99, OK):.2f} s")
    figures.tell(f"the others refused, p99 {far.quantile(0.99, BUSY):.2f} s; {shed(gate)}")
    figures.tell(f"at most {max(seen)} waited; {waited} for more than {DELAY_SECONDS / 2 * 1000:.0f} ms, by the histogram")
    figures.tell(f"after it {after.answered[OK]} of {after.answered.total()} answered")
    assert set(far.answered) == {OK, BUSY}
    assert far.quantile(0.99, OK) <= PATIENCE_SECONDS + ROUND_TRIPS * DELAY_SECONDS
    assert max(seen) <= PATIENCE_SECONDS * RATE
    assert far.good() >= 0.5 * READS / (DELAY_SECONDS + SLACK_SECONDS)
    assert waited > 0
    assert gate.sheds["hurry"] + gate.sheds["deadline"] > 0
    assert here.whole()
    assert after.answered[OK] >= after.answered.total() * 0.9
