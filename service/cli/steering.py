"""`shelfmark jobs list|show|retry|cancel`: rows of jobs, read and changed in the database itself."""

import asyncio
import datetime
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from service import settings
from service.cli.standing import show_json
from service.errors import SetupError
from service.jobs import transitions
from service.jobs.rows import STATES, JobRow
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.migrations.running import new_engine

NO_TABLE = "42P01"
ID_MOST = 2**63 - 1
COLUMNS = ("id", "state", "name", "progress", "asked by", "since", "said")
NONE = "There are no such jobs."
T = TypeVar("T")


def show_all(state: str | None, name: str | None, most: int, *, as_json: bool) -> None:
    """Print jobs: a table for people, lines with tabs for programs, or JSON.

    Raises:
        SetupError: there is no such state, or the database can't be used.
    """
    if state not in {None, *STATES}:
        raise SetupError(f"--state {state}: a job is {', '.join(STATES[:-1])} or {STATES[-1]}.")
    wanted = {"state": state, "name": name}
    asked = select(JobRow).filter_by(**{key: value for key, value in wanted.items() if value is not None})

    async def found(session: AsyncSession) -> Sequence[JobRow]:
        return (await session.scalars(asked.order_by(JobRow.id.desc()).limit(most))).all()

    rows = in_database(found)
    console = Console(highlight=False, markup=False)
    if as_json:
        show_json({"jobs": [whole(row) for row in rows]})
    elif not console.is_terminal:
        for row in rows:
            typer.echo("\t".join(_cells(row)))
    else:
        console.print(_table(rows) if rows else NONE)


def show_one(id_: int, *, as_json: bool) -> None:
    """Print all that is known of a job.

    Raises:
        SetupError: there is none, or the database can't be used.
    """
    row = in_database(lambda session: one(session, id_))
    if as_json:
        show_json(whole(row))
        return
    for name, value in whole(row).items():
        typer.echo(f"{name:<14}{plain(_spelled(value))}".rstrip())


def retry(ids: Sequence[int]) -> None:
    """Let jobs go on that have failed, or were cancelled.

    Raises:
        SetupError: one of them can't; those before it do.
    """

    async def again(session: AsyncSession, id_: int) -> str:
        row = await one(session, id_)
        if await transitions.retry(session, id_):
            goes_on = row.checkpoint is not None and row.name not in transitions.ANEW
            return f"Job {id_} ({row.name}) waits for a worker{' and goes on where it was' if goes_on else ''}."
        if row.state in {"failed", "cancelled"}:
            raise SetupError(f"Another job with the key {row.key} is open: job {id_} would do the same. Wait for that one.")
        raise SetupError(f"Job {id_} is {row.state}: only one that has failed, or was cancelled, can be tried again.")

    _each(ids, again)


def cancel(ids: Sequence[int]) -> None:
    """Have jobs end.

    Raises:
        SetupError: one of them has ended already; those before it are told to.
    """

    async def ended(session: AsyncSession, id_: int) -> str:
        row = await one(session, id_)
        state = await transitions.cancel(session, id_)
        if state is None:
            raise SetupError(f"Job {id_} is {row.state}: it has ended already.")
        return f"Job {id_} ({row.name}) {'is cancelled' if state == 'cancelled' else 'runs, and is told to end'}."

    _each(ids, ended)


def in_database(work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Do something in one transaction of the configured database.

    Raises:
        SetupError: it can't be used, or has no jobs.
    """
    url = database_url(settings.load(), direct=True)

    async def done() -> T:
        async with session_of(url) as session:
            return await work(session)

    with in_sentences(url):
        return asyncio.run(done())


@asynccontextmanager
async def session_of(url: str) -> AsyncIterator[AsyncSession]:
    """A transaction, for whoever reads or changes jobs.

    Raises:
        SetupError: the database has no jobs.
    """
    engine = new_engine(url)
    try:
        async with engine.connect() as connection, AsyncSession(connection, expire_on_commit=False) as session, session.begin():
            yield session
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == NO_TABLE:
            raise SetupError("The database has no table of jobs yet. Run `shelfmark migrate` first.") from error
        raise
    finally:
        await engine.dispose()


async def one(session: AsyncSession, id_: int) -> JobRow:
    """A job.

    Raises:
        SetupError: there is none.
    """
    row = await session.get(JobRow, id_) if id_ <= ID_MOST else None
    if row is None:
        raise SetupError(f"There is no job {id_}. `shelfmark jobs list` shows those that there are; old ones are deleted.")
    return row


def whole(row: JobRow) -> dict[str, Any]:
    """All of a row, in the order of its columns."""
    return {attribute.key: getattr(row, attribute.key) for attribute in inspect(JobRow).column_attrs}


def progress(row: JobRow) -> str:
    """How far a job is, in a few words."""
    if row.done is None:
        return ""
    return f"{row.done:,} of {row.total:,} ({row.done / row.total:.0%})" if row.total else f"{row.done:,}"


def plain(text: str) -> str:
    """Text on one line that does nothing to a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def said(row: JobRow) -> str:
    """What a job says of itself: why it failed, else what goes on."""
    return row.error or row.message or ""


def _each(ids: Sequence[int], act: Callable[[AsyncSession, int], Awaitable[str]]) -> None:
    for id_ in dict.fromkeys(ids):
        typer.echo(in_database(lambda session, id_=id_: act(session, id_)))  # type: ignore[misc]


def _cells(row: JobRow) -> list[str]:
    since = row.finished_at or row.started_at or row.created_at
    cells = [str(row.id), row.state, row.name, progress(row), row.asked_by, _spelled(since), said(row)]
    return [plain(cell) for cell in cells]


def _table(rows: Sequence[JobRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=column in {"id", "state"})
    for row in rows:
        table.add_row(*_cells(row), style="dim" if row.finished_at else None)
    return table


def _spelled(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime.datetime():
            return f"{value.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def ended_badly(rows: Sequence[JobRow]) -> Iterator[JobRow]:
    """Those that didn't come to what they were for."""
    return (row for row in rows if row.state in {"failed", "cancelled"})
