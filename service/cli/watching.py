"""`shelfmark jobs watch`: how far jobs are, as bars on a terminal, as a line for each change elsewhere."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy import select

from service import settings
from service.background import heed
from service.cli.steering import ended_badly, one, plain, progress, said, session_of
from service.jobs.rows import JobRow
from service.local.urls import database_url
from service.migrations.failures import in_sentences

LOOK_SECONDS = 0.5
SHOWN_MOST = 30
OPEN = ("queued", "running")


class Shown(Protocol):
    """Where jobs are shown."""

    def tell(self, row: JobRow) -> None:
        """Show a job that is new, or has changed."""

    def wait(self) -> None:
        """Nothing waits and nothing runs yet."""


def run(ids: Sequence[int]) -> None:
    """Watch jobs until they have ended, or all that are open until Ctrl-C.

    Args:
        ids: which; none: every open one.

    Raises:
        SetupError: one of them isn't there, or the database can't be used.
        Exit: with 1, where one has failed or was cancelled.
    """
    url = database_url(settings.load(), direct=True)
    console = Console(highlight=False, markup=False)
    with in_sentences(url), shown(console) as where, suppress(KeyboardInterrupt):
        rows = asyncio.run(_watch(url, list(dict.fromkeys(ids)), where))
        if any(ended_badly(rows)):
            raise typer.Exit(1)


async def _watch(url: str, ids: Sequence[int], where: Shown) -> Sequence[JobRow]:
    """Tell of each change; the jobs that were asked for, once all of them have ended."""
    known: dict[int, JobRow] = {}
    while True:
        for row in await (_named(url, ids) if ids else _open(url, known)):
            if row.id not in known or known[row.id].version != row.version:
                where.tell(row)
            known[row.id] = row
        if not ids and not known:
            where.wait()
        if ids and all(row.state not in OPEN for row in known.values()):
            return list(known.values())
        heed()
        await asyncio.sleep(LOOK_SECONDS)


async def _named(url: str, ids: Sequence[int]) -> Sequence[JobRow]:
    async with session_of(url) as session:
        return [await one(session, id_) for id_ in ids]


async def _open(url: str, known: Mapping[int, JobRow]) -> Sequence[JobRow]:
    """What is open, and what was at the last look."""
    before = [row.id for row in known.values() if row.state in OPEN]
    async with session_of(url) as session:
        last = select(JobRow.id).where(JobRow.state.in_(OPEN)).order_by(JobRow.id.desc()).limit(SHOWN_MOST)
        rows = await session.scalars(select(JobRow).where(JobRow.id.in_(last) | JobRow.id.in_(before)).order_by(JobRow.id))
        return rows.all()


@contextmanager
def shown(console: Console) -> Iterator[Shown]:
    """Where jobs are shown, for as long as the block runs."""
    if not console.is_terminal:
        yield Lines()
        return
    with Progress(
        TextColumn("{task.fields[state]:<9}", markup=False), BarColumn(20), TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(), console=console,
    ) as bars:  # fmt: skip
        yield Bars(bars)


class Lines:
    """A line for each change."""

    def wait(self) -> None:
        """Print nothing: whoever reads lines waits for the first."""

    def tell(self, row: JobRow) -> None:
        """Print it."""
        typer.echo("  ".join(filter(None, (str(row.id), row.state, *_words(row)))))


class Bars:
    """A bar for each job; those that have ended go up and away when there are too many."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[int, TaskID] = {}
        self._ended: deque[int] = deque()

    def wait(self) -> None:
        """Show that it is alive."""
        if 0 not in self._tasks:
            self._tasks[0] = self._bars.add_task("nothing to do yet; Ctrl-C ends the watch", total=None, state="")

    def tell(self, row: JobRow) -> None:
        """Move its bar."""
        if 0 in self._tasks:
            self._bars.remove_task(self._tasks.pop(0))
        task = self._tasks.get(row.id)
        if task is None:
            task = self._tasks[row.id] = self._bars.add_task("", total=None, state="")
        total = row.total or (1 if row.state == "done" else None)
        done = total if row.state == "done" else row.done or 0
        words = "  ".join(filter(None, (f"job {row.id}", *_words(row))))
        self._bars.update(task, description=words, state=row.state, total=total, completed=done)
        if row.state not in OPEN:
            self._bars.stop_task(task)
            self._ended.append(row.id)
            if len(self._tasks) > SHOWN_MOST:
                self._bars.remove_task(self._tasks.pop(self._ended.popleft()))


def _words(row: JobRow) -> tuple[str, str, str]:
    return plain(row.name), progress(row), plain(said(row))
