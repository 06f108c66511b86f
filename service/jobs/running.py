"""One run of a job, from its claim to its end: what its function is handed, and what is made of how it ends.

A chunk is a unit of work that ends with the job's own row: checkpoint, progress and lease are kept in the transaction of what they
tell of. So whatever a chunk does in the database is done exactly once, also where its worker dies, or stands still and comes back
when another one has gone on. What a job does outside (files, requests) may be done again: give it a key.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Literal, TypeVar, cast

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import Database, Unit
from service.db.faults import FAULTS, problem, state_of
from service.errors import Problem, ShelfmarkError
from service.jobs import transitions
from service.jobs.job import Job, Refused
from service.jobs.transitions import Claim, Claimed

TELL_SECONDS = 0.5
Outcome = Literal["done", "failed", "queued", "postponed", "cancelled", "fenced"]
"""How a run ended; `queued`: it failed and is tried again, `postponed`: it waits, `fenced`: another run has taken over."""
POSTPONED: Mapping[str | None, Outcome] = {"queued": "postponed", "cancelled": "cancelled"}
T = TypeVar("T")
log = structlog.get_logger(__name__)


class Fenced(Exception):
    """A run may not go on: another one has begun, or somebody wants the job to end. The chunk is rolled back."""


class Unable(ShelfmarkError):
    """A run that failed, and may go better another time; the message is a sentence for people."""


class Postponed(Exception):
    """A run that has to wait for something else ends, and leaves its slot to others; another begins after a while.

    Args:
        message: what it waits for, for people.
        seconds: after which it is looked at again.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.message, self.seconds = message, seconds


class Run:
    """What a job's function is handed.

    Attributes:
        id: the job's.
        claim: by which this run has it.
        asked_by: the prefix of the API key that wanted it; empty: the service itself.
        checkpoint: what the last chunk that is committed has kept, as JSON; None at first.
        database: where its work is done.
        things: what the worker was put together with, by type.
    """

    def __init__(self, claimed: Claimed, database: Database, things: Mapping[type, Any] | None = None) -> None:
        self.id, self.claim, self.asked_by = claimed.id, claimed.claim, claimed.asked_by
        self.checkpoint, self.database = claimed.checkpoint, database
        self._things = things or {}
        self._kept: dict[str, Any] = {}
        self._told = -TELL_SECONDS

    def uses(self, kind: type[T]) -> T:
        """Something that the worker was put together with: its settings, its spool.

        Raises:
            Refused: it has none.
        """
        if kind not in self._things:
            raise Refused(f"This worker has no {kind.__name__}.")
        return cast("T", self._things[kind])

    @asynccontextmanager
    async def chunk(self) -> AsyncIterator[Unit]:
        """A unit of work that ends with what `reached` said, or with nothing at all.

        Raises:
            Fenced: the run may not go on; nothing of the chunk is kept.
        """
        self._kept = {"checkpoint": self.checkpoint}
        async with self.database.writing() as unit:
            yield unit
            if not await transitions.advance(unit.session, self._own, **self._kept):
                raise Fenced
        self.checkpoint = self._kept["checkpoint"]

    def reached(self, checkpoint: Any, *, done: int | None = None, total: int | None = None, message: str | None = None) -> None:
        """Have the chunk keep how far it came.

        Args:
            checkpoint: as JSON; the next run begins with it.
            done: how much of the work is done, in whatever is counted.
            total: of how much.
            message: what goes on, for people.
        """
        self._kept = {"checkpoint": checkpoint, "done": done, "total": total, "message": message}

    async def save(self, connection: AsyncConnection, checkpoint: Any, **told: Any) -> None:
        """Keep a checkpoint in the transaction of a connection of one's own.

        Args:
            connection: it commits what this belongs to.
            checkpoint: as for `reached`.
            told: `done`, `total` and `message`, as for `reached`.

        Raises:
            Fenced: the run may not go on; roll back.
        """
        if not await transitions.advance(connection, self._own, checkpoint, **told):
            raise Fenced
        self.checkpoint = checkpoint

    async def tell(self, *, done: int | None = None, total: int | None = None, message: str | None = None) -> None:
        """Say how far it is, outside of any chunk; twice a second at the most, more is left out."""
        if monotonic() - self._told < TELL_SECONDS:
            return
        self._told = monotonic()
        try:
            async with self.database.writing() as unit:
                await transitions.tell(unit.session, self._own, done=done, total=total, message=message)
        except Problem as error:  # it is only told; what matters is kept by chunks
            log.debug("progress can't be told", job=self.id, reason=error.detail)

    async def ends(self, *, failing: bool) -> bool:
        """Whether the job ends with this run, if that stops now: somebody wants its end, or no attempt is left.

        Args:
            failing: whether the run fails; else it was broken off.
        """
        async with self.database.writing() as unit:
            return await transitions.ends(unit.session, self._own, failing=failing)

    @property
    def _own(self) -> Claim:
        return self.id, self.claim


async def perform(
    database: Database, jobs: Mapping[str, Job[Any]], claim: Claim, things: Mapping[type, Any] | None = None
) -> tuple[str, Outcome] | None:
    """Run a job that was handed out, to its end.

    Args:
        database: where it stands.
        jobs: by name.
        claim: the job, and the claim by which it was handed out.
        things: what the worker was put together with, by type.

    Returns:
        Its name, and how it ended; None where the claim is an old one.

    Raises:
        CancelledError: it was broken off; whoever did that knows what is to become of the job.
        Problem: the database can't be told how it ended: its lease ends, and another run begins.
    """
    async with database.writing() as unit:
        claimed = await transitions.start(unit.session, claim)
    if claimed is None:
        return None
    try:
        result = msgspec.to_builtins(await _called(jobs, Run(claimed, database, things), claimed))
        async with database.writing() as unit:
            return claimed.name, "done" if await transitions.finish(unit.session, claim, result) else "fenced"
    except Fenced:
        async with database.writing() as unit:
            return claimed.name, "cancelled" if await transitions.cancelled(unit.session, claim) else "fenced"
    except Postponed as wait:
        async with database.writing() as unit:
            state = await transitions.postpone(unit.session, claim, wait.seconds, wait.message)
        return claimed.name, POSTPONED.get(state, "fenced")
    except Exception as error:  # noqa: BLE001  # whatever it is, the job's row says it
        return claimed.name, await _failed(database, claimed, error)


async def _called(jobs: Mapping[str, Job[Any]], run: Run, claimed: Claimed) -> Any:
    """What a job's function gives."""
    work = jobs.get(claimed.name)
    if work is None:
        raise Unable(f"This worker knows no job {claimed.name}. Workers of another version may.")
    args = work.read(claimed.args)
    try:
        async with asyncio.timeout(work.timeout) as limit:
            return await work.function(run, **args)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise Unable(f"It ran for {work.timeout:g} s, as long as it may.") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        raise Unable("Something that it waited for was cancelled.") from error  # by itself: nobody has broken off the run


async def _failed(database: Database, claimed: Claimed, error: Exception) -> Outcome:
    final = isinstance(error, Refused)
    async with database.writing() as unit:
        state = await transitions.fail(unit.session, (claimed.id, claimed.claim), _sentence(error), final=final)
    log.warning("a job failed", job=claimed.id, name=claimed.name, state=state, exc_info=None if final else error)
    return cast("Outcome", state or "fenced")


def _sentence(error: Exception) -> str:
    """What went wrong, in a line for people; what the database says itself may hold values, and stays in the log."""
    known = error if isinstance(error, ShelfmarkError) else problem(error)
    if known is not None:
        return str(known)
    if isinstance(error, FAULTS):
        return f"The database refused it ({state_of(error) or type(error).__name__}). The worker's log says more."
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
