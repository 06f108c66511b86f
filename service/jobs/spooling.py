"""A question becomes a file of the spool: the export as a job, by the same engine as streams and the command.

A piece of the file commits together with the job's checkpoint, so a run that takes over from one that was killed adds the very
bytes that are missing. The file is sealed with its last piece: until then nobody can read it, and if the job ends otherwise it is
dropped.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from service.contract.choose import Choice
from service.errors import Problem, TooManyRequests
from service.jobs.exporting import Export, Exporting, Part, Reached
from service.jobs.job import Refused, job
from service.jobs.lines import Formulas, Style
from service.jobs.links import Links
from service.jobs.opening import Format
from service.jobs.quota import EXPORT, Quota
from service.jobs.running import Fenced, Run, Unable
from service.jobs.spool import CHUNK_BYTES, FileGone, Spool, Spooled
from service.settings import Settings

PIECE_BYTES = CHUNK_BYTES - CHUNK_BYTES // 16
"""From which on a piece is kept: parts are smaller than the rest of a chunk, as a rule."""
PIECE_SECONDS = 1.0
"""After which it is kept however small it is: less is lost, and progress is seen."""
UNSIGNED = (
    "This worker has no secret to sign links with, so nobody could read the file. Set SHELFMARK_SECRETS, as the service has it."
)
MESSAGE = "writing the file: rows"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, as the job's row keeps it.

    Attributes:
        table: whose rows.
        question: parameters of its list; the members are among them, so that they stay the same in another version.
        style: how the file is written.
        within: column -> the value, as JSON, that rows must have there; empty: every row.
    """

    table: str
    question: Sequence[tuple[str, str]]
    style: Style
    within: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Exports:
    """What makes an export of what was asked for; the tables' own shapes and contracts decide, anew in each run.

    Attributes:
        made: gives the export, and the path that serves its question now.
    """

    made: Callable[[Wanted], tuple[Export, Choice]]


@job(name="export", attempts=5, lease=30.0, timeout=None)
async def export_question(
    run: Run, *, table: str, question: list[tuple[str, str]], form: Format, formulas: Formulas, within: dict[str, Any]
) -> dict[str, Any]:
    """Write all rows of a question into a file of the spool.

    Args:
        run: the job's.
        table: whose rows.
        question: parameters of its list, decoded.
        form: what the lines of the file are.
        formulas: what is done to cells that a spreadsheet would take for formulas.
        within: column -> the value that rows must have there, for a key that is confined to them.

    Returns:
        How many `rows` and `bytes` the file has, the `url` that leads to it, and when it `expires_at`.

    Raises:
        Refused: the question isn't served, or its rows are too many bytes.
        Unable: not by this worker.
        Problem: not now.
    """
    links = run.uses(Links)
    if links.signer is None:
        raise Unable(UNSIGNED)
    writing = _Writing(run, Wanted(table, question, Style(form, formulas), within))
    async with writing.dropped():
        with _final():
            try:
                file, reached = await writing.whole()
            except FileGone:  # it waited for too long, or the job was given up before: nothing is left, so all of it is made anew
                writing.anew()
                file, reached = await writing.whole()
    return {"rows": reached.rows, "bytes": file.size, "url": links.to(file.id), "expires_at": file.expires_at}


@contextmanager
def _final() -> Iterator[None]:
    """Refuse what trying again can't mend."""
    try:
        yield
    except TooManyRequests as most:
        raise Refused(f"{most.detail} Ask for less, or have it exported by the command.") from most
    except Problem as problem:
        if problem.retry_after is None:
            raise Refused(problem.detail) from problem
        raise


class _Writing:
    """One run of an export."""

    def __init__(self, run: Run, wanted: Wanted) -> None:
        self._run, self._wanted, self._spool = run, wanted, run.uses(Spool)
        self._quota = Quota.of(run.uses(Settings))
        self._kept: Mapping[str, Any] | None = run.checkpoint
        self._file: int = self._kept["file"] if self._kept else 0

    def anew(self) -> None:
        """Forget the file."""
        self._kept = None

    async def whole(self) -> tuple[Spooled, Reached]:
        """Write the file, or the rest of it; the file, and what it has.

        Raises:
            FileGone: what was there of it is gone.
            TooManyRequests: it is larger than it may be.
            Problem: the question isn't served, or isn't any more; or the database is away, slow or full.
        """
        export, choice = self._run.uses(Exports).made(self._wanted)
        total = await export.rows.estimate(export.question, choice) if choice.kind == "list" else None
        before = self._before(export)
        if before is None:  # by itself: a directory keeps bytes of what was rolled back, and the row leads to them
            name = f"{self._wanted.table}.{self._wanted.style.format}"
            self._file = await self._spool.open(name, EXPORT, asked_by=self._run.asked_by)
        reached = before or Reached()
        async with aclosing(_pieces(Exporting(export, before))) as pieces:
            async for data, reached in pieces:
                kept = {"file": self._file, **reached.dumped(export)}
                await self._run.database.attempt(partial(self._keep, data, kept, reached, total))
                self._kept = kept
        return await self._spool.find(self._file), reached

    async def _keep(self, data: bytes, kept: Mapping[str, Any], reached: Reached, total: int | None) -> None:
        """Add a piece, in the transaction that keeps how far the file is with it.

        Raises:
            TooManyRequests: the key's files of a day are too large with it.
        """
        async with self._run.chunk() as unit:
            await self._quota.check(unit.session, self._run.asked_by, len(data), EXPORT)
            await self._spool.append(self._file, data)
            if reached.whole:
                await self._spool.seal(self._file)
            self._run.reached(kept, done=reached.rows, total=_of(total, reached), message=MESSAGE)

    def _before(self, export: Export) -> Reached | None:
        """How far the file is; None where it isn't begun, or can't be gone on with."""
        if self._kept is not None:
            with suppress(ValueError):  # a key is of another type now
                return Reached.loaded(export, self._kept)
        return None

    @asynccontextmanager
    async def dropped(self) -> AsyncIterator[None]:
        """Drop the file where the job ends without it, or knows nothing of it; else the next run goes on with it."""
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            with suppress(Problem):  # else it expires by itself
                if self._file and (self._kept is None or await self._ends(error)):
                    await self._spool.release(self._file)
            raise

    async def _ends(self, error: BaseException) -> bool:
        """Whether the job ends with an error."""
        broken_off = isinstance(error, Fenced | asyncio.CancelledError)
        return isinstance(error, Refused) or await self._run.ends(failing=not broken_off)


def _of(total: int | None, reached: Reached) -> int | None:
    """How many rows there will be: an estimate, until that is known."""
    if reached.whole or total is None:
        return reached.rows if reached.whole else None
    return max(total, reached.rows)


async def _pieces(making: Exporting) -> AsyncGenerator[tuple[bytes, Reached]]:
    """The parts of a file, several together, and how far it is with each piece."""
    held, size, began = list[bytes](), 0, monotonic()
    async for part in making:
        held.append(part.data)
        size += len(part.data)
        if _is_due(part, size, monotonic() - began):
            yield b"".join(held), part.reached
            held, size, began = [], 0, monotonic()


def _is_due(part: Part, size: int, seconds: float) -> bool:
    return part.reached.whole or size >= PIECE_BYTES or seconds >= PIECE_SECONDS
