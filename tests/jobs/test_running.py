"""A run of a job: its chunks are kept with their checkpoints, and how it ends is written down."""

import pytest
from sqlalchemy import select

from service.db.bound import Bound
from service.jobs.job import How, Refused, enqueue, job
from service.jobs.rows import JobRow, JobRows
from service.jobs.running import Run
from service.tables.authors import Author, Authors
from tests.fixtures.jobs import Ran, RunJobs


@job(name="test.write", attempts=3)
async def write(run: Run, *, names: list[str]) -> int:
    """Writes an author in each chunk."""
    for place in range(run.checkpoint or 0, len(names)):
        async with run.chunk():
            await Authors(run.database).create(name=names[place])
            run.reached(place + 1, done=place + 1, total=len(names))
    return len(names)


@job(name="test.fail", attempts=3)
async def fail(run: Run, *, reason: str, final: bool = False) -> None:
    """Fails."""
    raise Refused(reason) if final else ValueError(reason)


async def row(database: Bound, id_: int) -> JobRow:
    """A job's row."""
    return await JobRows(database).get(id_)


async def test_what_was_asked_for_is_done_once(database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing():
        asked = await enqueue(write, names=["one", "two"])
    assert await run_jobs(write) == [Ran(asked, "test.write", "done")]
    assert await run_jobs(write) == []
    found = await row(database, asked)
    assert (found.state, found.result, found.checkpoint, found.done, found.total) == ("done", 2, 2, 2, 2)
    async with database.reading() as session:
        assert set(await session.scalars(select(Author.name))) == {"one", "two"}


async def test_nothing_is_asked_for_by_what_was_rolled_back(database: Bound, run_jobs: RunJobs) -> None:
    async def broken_off() -> None:
        async with database.writing():
            await enqueue(write, names=["one"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken_off()
    assert await run_jobs(write) == []


async def test_a_key_stands_for_one_open_job(database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing():
        one, other = [await enqueue(write, How(key="k"), names=[]) for _ in range(2)]
    assert one == other
    assert len(await run_jobs(write)) == 1
    async with database.writing():
        assert await enqueue(write, How(key="k"), names=[]) != one


async def test_a_failure_is_tried_again_later_and_a_refusal_is_not(database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing():
        again, never = await enqueue(fail, reason="hm"), await enqueue(fail, reason="It can't be.", final=True)
    assert [(ran.id, ran.outcome) for ran in await run_jobs(fail)] == [(again, "queued"), (never, "failed")]
    found, refused = await row(database, again), await row(database, never)
    assert (found.failures, found.error) == (1, "ValueError: hm")
    assert found.due_at > found.created_at
    assert (refused.state, refused.error) == ("failed", "It can't be.")


async def test_a_job_that_nobody_knows_and_arguments_that_nobody_takes(database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing() as unit:
        unknown, wrong = await enqueue(fail, reason="hm"), await enqueue(write, names=[])
        unit.session.add(JobRow(name="test.write", args={"n": "x"}, attempts=3, lease=30))
    assert [ran.outcome for ran in await run_jobs(write)] == ["queued", "done", "failed"]
    assert "knows no job test.fail" in str((await row(database, unknown)).error)
    assert "can't be read" in str((await row(database, wrong + 1)).error)
