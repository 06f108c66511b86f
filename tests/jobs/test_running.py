"""A run of a job: its chunks are kept with their checkpoints, and how it ends is written down."""

import asyncio
import errno
import math
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from service.db import Database
from service.db.bound import Bound
from service.db.faults import AWAY
from service.db.model import table_of
from service.jobs import running, transitions
from service.jobs.job import How, Job, enqueue, job
from service.jobs.rows import JobRow
from service.jobs.running import Run, perform
from service.settings import Settings
from service.tables.authors import Authors
from tests.fixtures.jobs import Ran, RunJobs
from tests.jobs.errands import JOBS, add, authors, fail, handed_out, row, wait, write
from tests.waiting import until


@job(name="test.odd", attempts=2, timeout=5.0)
async def odd(run: Run, *, way: str) -> Any:  # noqa: C901, PLR0912 - a list of ways
    """Ends in an odd way."""
    match way:
        case "cancelled within":
            task = asyncio.create_task(asyncio.sleep(60))
            task.cancel()
            await task
        case "too long":
            await asyncio.sleep(60)
        case "no progress":
            async with run.chunk():
                pass
            raise ValueError(way)
        case "uses":
            return run.uses(Settings).job_keep_days
        case "no file":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")
        case "no room":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "no connection":
            raise ConnectionRefusedError
        case "waits":
            raise running.Postponed("waiting for a turn", 3600.0)
        case "uses what isn't there":
            run.uses(Bound)
        case "not storable":
            return {"text": "a\0b"}
        case "no number":
            return math.nan
        case "no JSON":
            return object()
        case "database":
            async with run.database.writing() as unit:
                await unit.session.execute(text("SELECT 1 / 0"))
        case "unknown to the database":
            async with run.database.writing() as unit:
                await unit.session.execute(text("SELECT no_such_function('secret')"))
    return None


async def test_what_was_asked_for_is_done_once(database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing():
        asked = await enqueue(write, names=["one", "two"])
    assert await run_jobs(write) == [Ran(asked, "test.write", "done")]
    assert await run_jobs(write) == []
    found = await row(database, asked)
    assert (found.state, found.result, found.checkpoint, found.done, found.total) == ("done", 2, 2, 2, 2)
    assert await authors(database) == ["one", "two"]


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


async def test_a_poison_job_fails_after_its_attempts_and_holds_nobody_up(database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing():
        poison = await enqueue(fail, reason="Poison.")
    ends = []
    for turn in range(fail.attempts):
        async with database.writing() as unit:
            await enqueue(write, names=[f"{turn}"])
            await unit.session.execute(update(table_of(JobRow)).values(due_at=func.clock_timestamp()))
        ends.append({ran.name: ran.outcome for ran in await run_jobs(fail, write)})
    assert [end["test.fail"] for end in ends] == ["queued", "queued", "failed"]
    assert {end["test.write"] for end in ends} == {"done"}
    found = await row(database, poison)
    assert (found.state, found.failures, found.error) == ("failed", 3, "ValueError: Poison.")


async def test_a_run_that_fails_goes_on_where_the_last_chunk_ended(database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing():
        asked = await enqueue(write, names=["one", "two", "three"], fail_at=2)
    assert [ran.outcome for ran in await run_jobs(write)] == ["queued"]
    found = await row(database, asked)
    assert (found.checkpoint, found.done, found.failures) == (2, 2, 0)  # it made progress
    assert await authors(database) == ["one", "two"]


@pytest.mark.parametrize(
    ("way", "outcome", "error"),
    [
        ("cancelled within", "queued", "Something that it waited for was cancelled."),
        ("too long", "queued", "It ran for 5 s, as long as it may."),
        ("no progress", "queued", "ValueError: no progress"),
        ("uses", "done", None),
        ("waits", "postponed", None),
        ("no file", "queued", "FileNotFoundError: [Errno 2] No such file or directory: '/x'"),
        ("no room", "queued", "OSError: [Errno 28] No space left on device"),
        ("no connection", "queued", AWAY),
        ("uses what isn't there", "failed", "This worker has no Bound."),
        ("not storable", "queued", "The database can't store one of the values: it is out of range, or not valid text."),
        ("no number", "queued", "The database can't store one of the values: it is out of range, or not valid text."),
        ("no JSON", "queued", "TypeError: Encoding objects of type object is unsupported"),
        ("database", "queued", "The database can't store one of the values: it is out of range, or not valid text."),
        ("unknown to the database", "queued", "The database refused it (42883). The worker's log says more."),
    ],
)
async def test_odd_ends(database: Bound, run_jobs: RunJobs, way: str, outcome: str, error: str | None) -> None:
    async with database.writing():
        asked = await enqueue(odd, way=way)
    assert [ran.outcome for ran in await run_jobs(odd)] == [outcome]
    found = await row(database, asked)
    assert (found.failures, found.error) == (int(outcome not in {"done", "postponed"}), error)


async def test_a_run_that_was_overtaken_keeps_nothing(committed: Database) -> None:
    """A worker that stood still comes back when another one has gone on."""
    stood, comes_back = asyncio.Event(), asyncio.Event()

    async def stand_still(run: Run, *, name: str) -> None:
        async with run.chunk():
            await Authors(run.database).create(name=name)
            run.reached(1)
            stood.set()
            await comes_back.wait()

    slow: Job[Any] = Job("test.stand", stand_still)
    async with committed.writing():
        asked = await enqueue(slow, name="late")
    async with committed.writing() as unit:
        (old,) = await handed_out(unit.session)
    late = asyncio.create_task(perform(committed, {slow.name: slow}, old))
    await stood.wait()
    async with committed.writing() as unit:
        await unit.session.execute(update(table_of(JobRow)).values(due_at=func.clock_timestamp()))
    async with committed.writing() as unit:
        (new,) = await handed_out(unit.session)
    comes_back.set()
    assert await late == ("test.stand", "fenced")
    assert await authors(committed) == []
    assert await perform(committed, {slow.name: slow}, new) == ("test.stand", "done")
    assert await authors(committed) == ["late"]
    assert (await row(committed, asked)).state == "done"
    assert await perform(committed, {slow.name: slow}, old) is None


async def test_a_chunk_that_finds_its_job_cancelled_ends_it(committed: Database) -> None:
    async with committed.writing():
        asked = await enqueue(write, names=["one", "two"])
    async with committed.writing() as unit:
        (claim,) = await handed_out(unit.session)
        assert await transitions.start(unit.session, claim)
        await transitions.cancel(unit.session, asked)
        run = Run(transitions.Claimed(*claim, "test.write", {}, "", None, None, None, 30.0), committed)
    with pytest.raises(running.Fenced):
        async with run.chunk():
            await Authors(committed).create(name="one")
    assert await authors(committed) == []


async def test_cancelled_between_two_chunks(committed: Database) -> None:
    between, goes_on = asyncio.Event(), asyncio.Event()

    async def two(run: Run) -> None:
        for name in ("one", "two"):
            async with run.chunk():
                await Authors(run.database).create(name=name)
                run.reached(name)
            between.set()
            await goes_on.wait()

    work: Job[Any] = Job("test.two", two)
    async with committed.writing():
        asked = await enqueue(work)
    async with committed.writing() as unit:
        (claim,) = await handed_out(unit.session)
    ran = asyncio.create_task(perform(committed, {work.name: work}, claim))
    await between.wait()
    async with committed.writing() as unit:
        assert await transitions.cancel(unit.session, asked) == "running"
    goes_on.set()
    assert await ran == ("test.two", "cancelled")
    found = await row(committed, asked)
    assert (found.state, found.checkpoint) == ("cancelled", "one")
    assert await authors(committed) == ["one"]


async def test_whoever_breaks_a_run_off_decides_what_becomes_of_it(committed: Database) -> None:
    async with committed.writing():
        asked = await enqueue(wait, name="one")
    async with committed.writing() as unit:
        (claim,) = await handed_out(unit.session)
    ran = asyncio.create_task(perform(committed, JOBS, claim))
    await until(lambda: _has_checkpoint(committed, asked))
    ran.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ran
    assert (await row(committed, asked)).state == "running"


async def test_a_checkpoint_in_a_transaction_of_ones_own(database: Bound) -> None:
    async with database.writing() as unit:
        id_ = await add(unit.session)
        (claim,) = await handed_out(unit.session)
        claimed = await transitions.start(unit.session, claim)
        assert claimed
        run, connection = Run(claimed, database), await unit.session.connection()
        await run.save(connection, {"line": 7}, done=7)
        assert run.checkpoint == {"line": 7}
        await transitions.cancel(unit.session, id_)
        with pytest.raises(running.Fenced):
            await run.save(connection, {"line": 8})
    assert (await row(database, id_)).checkpoint == {"line": 7}


async def test_progress_is_told_now_and_then(database: Bound) -> None:
    async with database.writing() as unit:
        id_ = await add(unit.session)
        (claim,) = await handed_out(unit.session)
        claimed = await transitions.start(unit.session, claim)
    assert claimed
    run = Run(claimed, database)
    await run.tell(done=1, total=9, message="reading")
    await run.tell(done=2)
    found = await row(database, id_)
    assert (found.done, found.total, found.message, found.advanced) == (1, 9, "reading", False)


async def _has_checkpoint(database: Database, id_: int) -> bool:
    async with database.reading() as session:
        return await session.scalar(select(JobRow.checkpoint).where(JobRow.id == id_)) is not None
