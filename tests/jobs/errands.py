"""Jobs of tests, and how tests make time pass for them."""

import asyncio
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.db import Database
from service.jobs import transitions
from service.jobs.job import Refused, job
from service.jobs.rows import JobRow, JobRows
from service.jobs.running import Run
from service.jobs.transitions import Claim
from service.tables.authors import Author, Authors

PASSED = text("UPDATE shelfmark_jobs SET due_at = due_at - CAST(:by AS interval) WHERE id = :id")


@job(name="test.write", attempts=3)
async def write(run: Run, *, names: list[str], fail_at: int | None = None) -> int:
    """Writes an author in each chunk."""
    for place in range(run.checkpoint or 0, len(names)):
        async with run.chunk():
            await Authors(run.database).create(name=names[place])
            run.reached(place + 1, done=place + 1, total=len(names))
            if place == fail_at:
                raise ValueError(names[place])
    return len(names)


@job(name="test.fail", attempts=3)
async def fail(_run: Run, *, reason: str, final: bool = False) -> None:
    """Fails."""
    raise Refused(reason) if final else ValueError(reason)


@job(name="test.wait", attempts=2, lease=3.0)
async def wait(run: Run, *, name: str) -> None:
    """Writes an author, and waits until it is broken off."""
    async with run.chunk():
        await Authors(run.database).create(name=name)
        run.reached(1)
    await asyncio.Event().wait()


JOBS = {one.name: one for one in (write, fail, wait)}


async def row(database: Database, id_: int) -> JobRow:
    """A job's row."""
    return await JobRows(database).get(id_)


async def authors(database: Database) -> list[str]:
    """The names of those that jobs have written."""
    async with database.reading() as session:
        return list(await session.scalars(select(Author.name).order_by(Author.id)))


async def passed(session: AsyncConnection | AsyncSession, id_: int, seconds: float) -> None:
    """Have so many seconds passed for a job."""
    await session.execute(PASSED, {"id": id_, "by": timedelta(seconds=seconds)})


async def handed_out(session: Any) -> list[Claim]:
    """What is due, handed out."""
    return list(await transitions.hand_out(session, 100, room=100))


async def add(session: Any, **given: Any) -> int:
    """A job's row, as it is asked for; its id."""
    values = {"name": "test.write", "args": {"names": []}, "attempts": 2, "lease": 30} | given
    made = JobRow(**values)
    session.add(made)
    await session.flush()
    return made.id
