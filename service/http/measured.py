"""Everything that the service counts, and who is asked for it.

Gates, limits, the event loop's watch and the catalogue count for their own sake, in their own way. Here their numbers become
families with names, labels and units.
"""

import resource
import time
from functools import partial
from pathlib import Path
from time import monotonic

from service.cache import counting as cached
from service.cache.caching import Cache
from service.db import Database, measuring, slow
from service.db.gate import BOUNDS, Gate
from service.http import requests
from service.http.draining import Traffic
from service.http.leaving import Watch
from service.http.limits import Limits
from service.http.requests import Requests
from service.jobs import backlog, relay, slots
from service.plans.ledger import Ledger
from service.telemetry.counting import SECONDS, Family, Source, Told

FIRST, LAST = 6, 24
"""Which of a gate's bounds are told: from 64 µs to 17 s. What is below or above counts in the next."""
WAITED = BOUNDS[FIRST : LAST + 1]
POOL, POOLS = ("pool",), ("reads", "writes", "aside")

RUNNING = Family("shelfmark_requests_running", "gauge", "Requests that are being answered.")
STOPPED = Family(
    "shelfmark_requests_stopped_total", "counter", "Requests broken off: at their deadline, or their client had left.", ("reason",)
)
STREAMS = Family("shelfmark_streams", "gauge", "Streams of events that are open.")
LIMITED = Family(
    "shelfmark_limits_refused_total",
    "counter",
    "Requests refused by a limit: of a key, of an address, of searches, batches and streamed exports, or streams of events, in all "
    "or for each.",
    ("limit",),
)
ALONE = Family(
    "shelfmark_limits_alone", "gauge", "1 while a process counts requests by itself, because Redis doesn't answer.", together="max"
)
REFUSED = Family(
    "shelfmark_questions_refused_total",
    "counter",
    "Questions refused: no index serves them, and path is empty; or the database doesn't have the one that does.",
    ("table", "path"),
)
WITHDRAWN = Family(
    "shelfmark_paths_withdrawn", "gauge", "Indexes that are needed and that the database doesn't have as declared.", together="max"
)
PERMITS = Family("shelfmark_pool_connections", "gauge", "Connections that a pool may have.", POOL)
BUSY = Family("shelfmark_pool_busy", "gauge", "Connections in use.", POOL)
QUEUED = Family("shelfmark_pool_queued", "gauge", "Requests that wait for a connection.", POOL)
WAITS = Family("shelfmark_pool_wait_seconds", "histogram", "Seconds that a connection was waited for.", POOL, WAITED)
HOLDS = Family("shelfmark_pool_hold_seconds", "histogram", "Seconds that a connection was held.", POOL, WAITED)
SHED = Family(
    "shelfmark_pool_refused_total",
    "counter",
    "Requests that got no connection: the queue was full, their turn would have come too late or did, or more was asked than "
    "can be done.",
    ("pool", "reason"),
)
BROUGHT_BACK = Family(
    "shelfmark_pool_mended_total", "counter", "Connections brought back after a statement that nobody waited for any more.", POOL
)
CLOSED = Family("shelfmark_pool_closed_total", "counter", "Connections that had to be closed instead.", POOL)
RETRIES = Family(
    "shelfmark_retries_total", "counter", "Reads and writes done once more: a connection was lost, or writes collided.", ("kind",)
)
LAG = Family(
    "shelfmark_event_loop_lag_seconds",
    "histogram",
    "Seconds by which the event loop was late, looked at every 20 ms while requests are under way.",
    (),
    SECONDS,
)
SHED_BY_LAG = Family("shelfmark_event_loop_shed_total", "counter", "Requests refused because the event loop was late.")
PROCESSES = Family("shelfmark_processes", "gauge", "Processes of the service, workers among them.")
PROCESSOR = Family("shelfmark_process_cpu_seconds_total", "counter", "Processor time that the processes used.")
MEMORY = Family("shelfmark_process_resident_bytes", "gauge", "Memory that the processes have.")
FAMILIES = (
    *requests.FAMILIES,
    *(RUNNING, STOPPED, STREAMS, LIMITED, ALONE),
    *(REFUSED, *measuring.FAMILIES, *slow.FAMILIES, WITHDRAWN),
    *(PERMITS, BUSY, QUEUED, WAITS, HOLDS, SHED, BROUGHT_BACK, CLOSED, RETRIES),
    *cached.FAMILIES,
    *(LAG, SHED_BY_LAG),
    *(*slots.FAMILIES, *backlog.FAMILIES, *relay.FAMILIES),
    *(PROCESSES, PROCESSOR, MEMORY),
)
PAGE_BYTES = resource.getpagesize()
MEMORY_OF_THIS = Path("/proc/self/statm")


def sources(
    database: Database,
    *,
    counted: Requests,
    traffic: Traffic,
    watch: Watch,
    limits: Limits,
    ledger: Ledger,
    cache: Cache | None = None,
) -> list[Source]:
    """Whoever counts in one process."""
    return [
        counted.told,
        lambda: _of_requests(traffic, watch, limits),
        lambda: _of_questions(ledger, database),
        database.measures.told,
        database.slow.told,
        lambda: _of_pools(database),
        *([partial(cached.told, cache)] if cache else []),
        of_process,
    ]


def _of_requests(traffic: Traffic, watch: Watch, limits: Limits) -> Told:
    yield RUNNING.name, (), [traffic.running]
    yield STOPPED.name, ("deadline",), [watch.late]
    yield STOPPED.name, ("left",), [watch.left]
    yield STREAMS.name, (), [len(limits.streams)]
    for limit, times in limits.refused.items():
        yield LIMITED.name, (limit,), [times]
    yield ALONE.name, (), [float(monotonic() < limits.slices.alone_until)]
    yield LAG.name, (), watch.lag.ticks.numbers()
    yield SHED_BY_LAG.name, (), [watch.shed]


def _of_questions(ledger: Ledger, database: Database) -> Told:
    for table, times in ledger.refused.items():
        yield REFUSED.name, (table, ""), [times]
    for key, times in database.catalogue.refused.items():
        yield REFUSED.name, key, [times]
    yield WITHDRAWN.name, (), [len(database.catalogue.withdrawn)]


def _of_pools(database: Database) -> Told:
    for name, leases in zip(POOLS, database.pools(), strict=False):
        yield from _of_gate((name,), leases.gate)
        yield BROUGHT_BACK.name, (name,), [leases.mended]
        yield CLOSED.name, (name,), [leases.closed]
    for kind, times in database.again.items():
        yield RETRIES.name, (kind,), [times]


def _of_gate(pool: tuple[str], gate: Gate) -> Told:
    yield PERMITS.name, pool, [gate.permits]
    yield BUSY.name, pool, [gate.permits - gate.free]
    yield QUEUED.name, pool, [gate.queued]
    yield WAITS.name, pool, [*_within(gate.waits), gate.waited]
    yield HOLDS.name, pool, [*_within(gate.holds), gate.held]
    for reason, times in {**gate.sheds, "timeout": gate.timeouts}.items():
        yield SHED.name, (*pool, reason), [times]


def _within(counts: list[int]) -> list[float]:
    """A gate's counts by the bounds that are told."""
    return [sum(counts[: FIRST + 1]), *counts[FIRST + 1 : LAST + 1], sum(counts[LAST + 1 :])]


def of_process() -> Told:
    """What a process of the service uses: one that serves, or one that runs jobs."""
    yield PROCESSES.name, (), [1]
    yield PROCESSOR.name, (), [time.process_time()]
    if MEMORY_OF_THIS.exists():
        yield MEMORY.name, (), [int(MEMORY_OF_THIS.read_text().split()[1]) * PAGE_BYTES]
