"""A job is declared by its function, asked for in a unit of work, once for each key, with the arguments of the function."""

import asyncio
import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from service.db import Database
from service.db.bound import Bound
from service.db.outbox import outbox
from service.errors import SetupError
from service.jobs.job import How, Job, Refused, enqueue, job
from service.jobs.rows import JobRow
from service.jobs.running import Run
from tests.fixtures.jobs import RunJobs
from tests.fixtures.statements import Queries
from tests.jobs.errands import authors, row, write

DAY = datetime.date(2026, 11, 29)
TIMES = 6


@job(name="test.typed")
async def typed(_run: Run, *, day: datetime.date, ids: list[UUID], rate: float = 0.5, note: str | None = None) -> str:
    """Takes several types."""
    return f"{day.isoformat()} {ids} {rate} {note}"


async def positional(_run: Run, name: str) -> None:
    """Takes a name in any way."""


async def untyped(_run: Run, *, name) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Takes a name of no type."""


def at_once(_run: Run) -> None:
    """Doesn't wait."""


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (positional, "takes name: declare it by name only"),
        (untyped, "takes name: declare it by name only"),
        (at_once, "must be an async function"),
    ],
)
def test_functions_that_cannot_be_jobs(function: Any, sentence: str) -> None:
    with pytest.raises(SetupError, match=sentence):
        job(name="test.bad")(function)


@pytest.mark.parametrize("given", [{"attempts": 0}, {"lease": 2.9}])
def test_numbers_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(SetupError, match="at least one attempt, and a lease of three seconds"):
        job(name="test.bad", **given)(write.function)


async def test_arguments_come_as_the_function_takes_them(database: Bound, run_jobs: RunJobs) -> None:
    id_ = UUID(int=7)
    async with database.writing():
        asked = await enqueue(typed, day=DAY, ids=[id_])
    found = await row(database, asked)
    assert found.args == {"day": "2026-11-29", "ids": [str(id_)], "rate": 0.5, "note": None}
    await run_jobs(typed)
    assert (await row(database, asked)).result == f"2026-11-29 [{id_!r}] 0.5 None"


@pytest.mark.parametrize("given", [{}, {"names": "a"}, {"names": [1]}, {"names": [], "more": 1}, {"names": [object()]}])
async def test_arguments_that_are_not_its_own(database: Bound, given: dict[str, Any]) -> None:
    async with database.writing():
        with pytest.raises(TypeError, match=r"test.write can't be called like that: "):
            await enqueue(write, **given)
        with pytest.raises(TypeError, match="by name"):
            await enqueue(write, None, ["a"])  # type: ignore[call-arg]
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(JobRow)) == 0


def test_arguments_of_another_version_are_refused_for_good() -> None:
    with pytest.raises(Refused, match=r"Its arguments can't be read by this version of test.write: .*unknown field"):
        write.read({"names": [], "of": "another version"})


async def test_outside_of_a_unit_of_work() -> None:
    with pytest.raises(RuntimeError, match="belongs into a unit of work"):
        await enqueue(write, names=[])


async def test_asking_is_one_statement_and_the_outbox_knows_of_it(database: Bound, queries: Queries) -> None:
    async with database.writing() as unit:
        queries.clear()
        asked = await enqueue(write, How(asked_by="me"), names=["a"])
        assert len(queries) == 1
        assert unit.told
    assert len(queries) == 1
    async with database.reading() as session:
        assert [(one.subject, one.what) for one in await session.execute(select(outbox))] == [(f"jobs/{asked}", "created")]
    found = await row(database, asked)
    assert (found.name, found.asked_by, found.attempts, found.lease, found.state) == ("test.write", "me", 3, 30.0, "queued")


async def test_a_key_that_is_there_adds_neither_a_job_nor_a_note(database: Bound) -> None:
    async with database.writing():
        assert await enqueue(write, How(key="k"), names=[]) == await enqueue(write, How(key="k"), names=["another"])
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(outbox)) == 1


async def test_a_key_is_one_job_however_many_ask_at_once(committed: Database) -> None:
    async def ask(turn: int) -> int:
        async with committed.writing() as unit:
            if turn == 0:
                await unit.session.execute(text("SELECT pg_sleep(0.05)"))
            asked = await enqueue(write, How(key="k"), names=[])
            await unit.session.execute(text("SELECT pg_sleep(0.01)"))  # so that others come while it isn't committed
            return asked

    found = await asyncio.gather(*(ask(turn) for turn in range(TIMES)))
    assert len(set(found)) == 1
    async with committed.reading() as session:
        assert await session.scalar(select(func.count()).select_from(JobRow)) == 1


async def test_who_has_a_key_and_rolls_back_leaves_it_to_the_next(committed: Database) -> None:
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def roll_back() -> None:
        async with committed.writing():
            await enqueue(write, How(key="k"), names=["first"])
            asked.set()
            await goes_on.wait()
            raise ZeroDivisionError

    async def ask() -> int:
        async with committed.writing():
            return await enqueue(write, How(key="k"), names=["second"])

    first = asyncio.create_task(roll_back())
    await asked.wait()
    second = asyncio.create_task(ask())
    goes_on.set()
    with pytest.raises(ZeroDivisionError):
        await first
    assert (await row(committed, await second)).args["names"] == ["second"]


async def test_a_job_for_later_isnt_run_now(database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing():
        later = await enqueue(write, How(after=datetime.timedelta(hours=1)), names=["later"])
        now = await enqueue(write, names=["now"])
    assert [ran.id for ran in await run_jobs(write)] == [now]
    async with database.writing() as unit:
        await unit.session.execute(text("UPDATE shelfmark_jobs SET due_at = due_at - interval '1 hour'"))
    assert [ran.id for ran in await run_jobs(write)] == [later]
    assert await authors(database) == ["now", "later"]


def test_a_job_can_be_compared_and_shown() -> None:
    assert Job("test.write", write.function, attempts=3) == write
    assert "test.write" in repr(write)
