"""A question becomes a file of the spool: the export as a job, by the same engine as streams and the command.

A piece of the file commits together with the job's checkpoint, so a run that takes over from one that was killed adds the very
bytes that are missing. The file is sealed with its last piece: until then nobody can read it, and if the job ends otherwise it is
dropped.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
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
from service.jobs.quota import EXPORT, Allowance, Quota
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
    wanted = Wanted(table, question, Style(form, formulas), within)
    try:
        writing = await _begun(run, wanted)
        try:
            file, reached = await writing.whole()
        except FileGone:  # it waited for too long, or the job was given up before: nothing is left, so all of it is made anew
            writing.anew()
            file, reached = await writing.whole()
    except TooManyRequests as most:
        raise Refused(f"{most.detail} Ask for less, or have it exported by the command.") from most
    except Problem as problem:
        if problem.retry_after is None:
            raise Refused(problem.detail) from problem
        raise
    return {"rows": reached.rows, "bytes": file.size, "url": links.to(file.id), "expires_at": file.expires_at}


async def _begun(run: Run, wanted: Wanted) -> "_Writing":
    """What writes the file, from where the run before it had come to.

    Raises:
        TooManyRequests: the key has had too much.
        Problem: the question isn't served, or the database is away.
    """
    export, choice = run.uses(Exports).made(wanted)
    total = await export.rows.estimate(export.question, choice) if choice.kind == "list" else None
    async with run.database.reading() as session:
        allowance = await Quota.of(run.uses(Settings)).left(session, run.asked_by, EXPORT)
    return _Writing(run, export, f"{wanted.table}.{wanted.style.format}", total, allowance)


class _Writing:
    """One run of an export.

    Attributes:
        reached: how far the file is, as it is committed; None: not begun.
    """

    def __init__(self, run: Run, export: Export, name: str, total: int | None, allowance: Allowance) -> None:
        self._run, self._export, self._name, self._total, self._allowance = run, export, name, total, allowance
        self._spool = run.uses(Spool)
        self._file = 0
        self.reached: Reached | None = None
        if run.checkpoint is not None:
            with suppress(ValueError):  # a key is of another type now: that file can't be gone on with
                self.reached, self._file = Reached.loaded(export, run.checkpoint), run.checkpoint["file"]

    def anew(self) -> None:
        """Forget the file."""
        self.reached = None

    async def whole(self) -> tuple[Spooled, Reached]:
        """Write the rest of the file; the file, and what it has.

        Raises:
            FileGone: what was there of it is gone.
            TooManyRequests: it is larger than it may be.
            Problem: the database is away, slow or full, or no index serves the question any more.
        """
        making, reached = Exporting(self._export, self.reached), self.reached or Reached()
        if self.reached is None:  # by itself: a directory keeps bytes of what was rolled back, and the row leads to them
            self._file = await self._spool.open(self._name, EXPORT, asked_by=self._run.asked_by)
        async with self._dropped(), aclosing(_pieces(making)) as pieces:
            async for data, reached in pieces:
                self._allowance.take(len(data))
                await self._run.database.attempt(partial(self._keep, data, reached))
                self.reached = reached
            return await self._spool.find(self._file), reached

    async def _keep(self, data: bytes, reached: Reached) -> None:
        """Add a piece, in the transaction that says how far the file is with it."""
        async with self._run.chunk():
            await self._spool.append(self._file, data)
            if reached.whole:
                await self._spool.seal(self._file)
            kept = {"file": self._file, **reached.dumped(self._export)}
            self._run.reached(kept, done=reached.rows, total=self._of(reached), message=MESSAGE)

    def _of(self, reached: Reached) -> int | None:
        """How many rows there will be: an estimate, until that is known."""
        if reached.whole or self._total is None:
            return reached.rows if reached.whole else None
        return max(self._total, reached.rows)

    @asynccontextmanager
    async def _dropped(self) -> AsyncIterator[None]:
        """Drop the file where the job ends without it, or it hasn't begun; else the next run goes on with it."""
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            with suppress(Problem):  # else it expires by itself
                if self.reached is None or await self._ends(error):
                    await self._spool.release(self._file)
            raise

    async def _ends(self, error: BaseException) -> bool:
        """Whether the job ends with an error."""
        if isinstance(error, Problem) and (error.retry_after is None or isinstance(error, TooManyRequests)):
            return True
        return await self._run.ends(failing=not isinstance(error, Fenced | asyncio.CancelledError))


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
