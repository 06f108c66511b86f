"""The slots of one worker: so many jobs at the same time, their leases renewed, ended in order when the worker ends.

A slot doesn't depend on Redis: a run that has begun goes on whatever becomes of the server that woke it. It does depend on the
database: a run whose lease can't be renewed is taken over by another worker, and broken off here as soon as that is known.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import Column, DateTime, Integer, Table, Text, func, text

from service.background import beside
from service.db import Database, Model
from service.errors import Problem
from service.jobs import transitions
from service.jobs.job import Job
from service.jobs.running import perform
from service.jobs.transitions import Claim
from service.telemetry.counting import Family, Spread, Told

BEAT_SECONDS = 1.0
STALE_HOURS = 1
RUN_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

workers = Table(
    "shelfmark_workers",
    Model.metadata,
    Column("id", Text(collation="C"), primary_key=True),
    Column("slots", Integer, nullable=False, comment="jobs that it runs at the same time"),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
SEEN = text("""
INSERT INTO shelfmark_workers (id, slots) VALUES (:id, :slots)
ON CONFLICT (id) DO UPDATE SET slots = excluded.slots, seen_at = clock_timestamp()
""")
LEFT = text(f"DELETE FROM shelfmark_workers WHERE id = :id OR seen_at < clock_timestamp() - make_interval(hours => {STALE_HOURS})")
SLOTS = Family("shelfmark_job_slots", "gauge", "Jobs that workers may run at the same time.")
RUNNING = Family("shelfmark_jobs_running", "gauge", "Jobs that workers run.")
ENDED = Family("shelfmark_job_runs_total", "counter", "Runs of jobs, by how they ended.", ("name", "outcome"))
SECONDS = Family("shelfmark_job_run_seconds", "histogram", "Seconds that runs of jobs took.", ("name",), RUN_BOUNDS)
FAMILIES = (SLOTS, RUNNING, ENDED, SECONDS)
log = structlog.get_logger(__name__)


class Slots:
    """Runs the jobs that a worker is woken for.

    Args:
        database: where the jobs stand.
        jobs: by name.
        most: how many run at the same time; 0: none ever.
        things: what their functions may use, by type.

    Attributes:
        id: the worker's, for as long as its process lives.
        ended: is told whenever a slot becomes free.
    """

    def __init__(
        self, database: Database, jobs: Mapping[str, Job[Any]], most: int, things: Mapping[type, Any] | None = None
    ) -> None:
        self.id, self.most = uuid4().hex, most
        self.ended: Callable[[], None] = lambda: None
        self._database, self._jobs, self._things = database, jobs, things
        self._free = asyncio.Semaphore(most)
        self._running: dict[Claim, asyncio.Task[Any]] = {}
        self._why: dict[Claim, str] = {}
        self._stopped: set[Claim] = set()
        self._missed: set[Claim] = set()
        self._ending = False
        self._outcomes: dict[tuple[str, str], int] = {}
        self._took: dict[str, Spread] = {}

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._running)

    async def take(self, claim: Claim) -> None:
        """Run a job once a slot is free. Whoever waits here may be broken off: a run that has begun goes on, and keeps its slot."""
        await self._free.acquire()
        if claim in self._running:
            self._free.release()
            return
        task = self._running[claim] = asyncio.create_task(self._run(claim), name=f"job {claim[0]}")
        await asyncio.shield(task)

    @asynccontextmanager
    async def kept(self, grace_seconds: float) -> AsyncIterator[None]:
        """Renew leases for as long as the block lasts; then let runs end for some seconds, and hand back the others."""
        try:
            async with beside(self._beat(), "leases"):
                try:
                    yield
                finally:
                    await self._settle(grace_seconds)
        finally:
            await self._leave()

    async def beat(self) -> None:
        """Say that the worker lives, renew its leases, break off what isn't its own any more or is to end."""
        claims = list(self._running)
        async with self._database.writing() as unit:
            if self.most and not self._ending:
                await unit.session.execute(SEEN, {"id": self.id, "slots": self.most})
            going = await transitions.renew(unit.session, claims) if claims else {}
        missed = {claim for claim in claims if claim not in going}
        for claim in missed & self._missed:  # found twice: a run that ends just now isn't broken off
            self._break(claim, "fenced")
        self._missed = missed
        for claim, cancelled in going.items():
            if cancelled:
                self._break(claim, "cancelled")

    def told(self) -> Told:
        """What it has counted."""
        yield SLOTS.name, (), [self.most]
        yield RUNNING.name, (), [self.running]
        for labels, times in self._outcomes.items():
            yield ENDED.name, labels, [times]
        for name, took in self._took.items():
            yield SECONDS.name, (name,), took.numbers()

    async def _run(self, claim: Claim) -> None:
        began = monotonic()
        try:
            ended = await perform(self._database, self._jobs, claim, self._things)
            if ended:
                self._count(*ended, monotonic() - began)
        except asyncio.CancelledError:
            self._stopped.add(claim)
            await self._broken_off(claim, self._why.get(claim, "handed back"))
        except Problem as problem:  # the lease ends, and another run begins
            log.warning("a run's end couldn't be told", job=claim[0], reason=problem.detail)
        finally:
            self._running.pop(claim, None)
            self._why.pop(claim, None)
            self._stopped.discard(claim)
            self._free.release()
            self.ended()

    async def _broken_off(self, claim: Claim, why: str) -> None:
        log.info("a run was broken off", job=claim[0], why=why)
        with suppress(Problem):  # else its lease ends
            async with self._database.writing() as unit:
                if why == "cancelled":
                    await transitions.cancelled(unit.session, claim)
                elif why == "handed back":
                    await transitions.hand_back(unit.session, [claim])

    def _break(self, claim: Claim, why: str) -> None:
        """Have a run stop: once more where it didn't, since a cancellation may get lost on its way."""
        task = self._running.get(claim)
        if task and claim not in self._stopped:
            self._why.setdefault(claim, why)
            task.cancel()

    async def _beat(self) -> None:
        able = True
        while True:
            try:
                await self.beat()
                able = True
            except Exception as error:  # noqa: BLE001  # whatever it is, the next beat may go
                if able:
                    log.warning("leases can't be renewed", reason=str(error))
                able = False
            await asyncio.sleep(BEAT_SECONDS)

    async def _settle(self, seconds: float) -> None:
        self._ending = True
        await self._leave()  # nothing more is to be handed out for it
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=seconds)
        while self._running:
            for claim in list(self._running):
                self._break(claim, "handed back")
            await asyncio.wait(list(self._running.values()), timeout=BEAT_SECONDS)

    async def _leave(self) -> None:
        with suppress(Problem):  # else it is missed after some seconds
            async with self._database.writing() as unit:
                await unit.session.execute(LEFT, {"id": self.id})

    def _count(self, name: str, outcome: str, seconds: float) -> None:
        known = name if name in self._jobs else "unknown"
        self._outcomes[known, outcome] = self._outcomes.get((known, outcome), 0) + 1
        if outcome != "postponed":  # one that waits is looked at again and again
            self._took.setdefault(known, Spread(RUN_BOUNDS)).add(seconds)
