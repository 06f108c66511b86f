"""`shelfmark jobs`: what is shown of jobs, and what is done to them, in the database itself."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from rich.console import Console

from service.cli.watching import SHOWN_MOST, shown
from service.db import Database
from service.jobs import transitions
from service.jobs.job import How, enqueue, job
from service.jobs.rows import JobRow, JobRows
from service.jobs.running import Run
from service.jobs.transitions import Claim
from tests.fixtures.databases import settings_of
from tests.fixtures.processes import SHELFMARK, Ended, running

Jobs = Callable[..., Awaitable[Ended]]


@job(name="test.count", attempts=1)
async def count(run: Run, *, upto: int) -> None:
    """Counts."""


@pytest.fixture
async def jobs_database(own_database: str) -> AsyncIterator[Database]:
    """A database that really commits, with no jobs."""
    made = Database.connect(own_database, settings_of(own_database))
    yield made
    await made.close()


@pytest.fixture
def jobs(shelfmark: Callable[..., Ended], own_database: str) -> Jobs:
    """The command, over that database, from outside of the test's event loop."""

    async def command(*words: str) -> Ended:
        return await asyncio.to_thread(shelfmark, "jobs", *words, DATABASE_URL=own_database)

    return command


async def asked(database: Database, key: str | None = None) -> int:
    """A job that waits."""
    async with database.writing():
        return await enqueue(count, How(key=key, asked_by="aaaaaaaa"), upto=4)


async def begun(database: Database, id_: int) -> Claim:
    """Have it run; two of four are done."""
    async with database.writing() as unit:
        (claim,) = await transitions.hand_out(unit.session, 1, room=1)
        assert claim[0] == id_
        assert await transitions.start(unit.session, claim)
        assert await transitions.advance(unit.session, claim, 2, done=2, total=4, message="half")
    return claim


async def ended(database: Database, claim: Claim, error: str | None = None) -> None:
    """Have its run end."""
    async with database.writing() as unit:
        if error:
            assert await transitions.fail(unit.session, claim, error, final=True) == "failed"
        else:
            assert await transitions.finish(unit.session, claim, None)


async def row(database: Database, id_: int) -> JobRow:
    """What became of it."""
    return await JobRows(database).get(id_)


async def test_nothing_to_list(jobs: Jobs) -> None:
    assert await jobs("list") == Ended(0, "", "")


async def test_a_list_for_programs_has_lines(jobs: Jobs, jobs_database: Database) -> None:
    first = await asked(jobs_database)
    await ended(jobs_database, await begun(jobs_database, first), "No such file.\x1b[2J")
    second = await asked(jobs_database)
    lines = [line.split("\t") for line in (await jobs("list")).out.splitlines()]
    assert [line[:5] for line in lines] == [
        [str(second), "queued", "test.count", "", "aaaaaaaa"],
        [str(first), "failed", "test.count", "2 of 4 (50%)", "aaaaaaaa"],
    ]
    assert lines[1][6] == "No such file. [2J"
    for words, ids in (("--state failed", [first]), ("--name test.count --most 1", [second]), ("--name other", [])):
        found = json.loads((await jobs("list", *words.split(), "--json")).out)["jobs"]
        assert [one["id"] for one in found] == ids


async def test_a_state_that_there_is_not(jobs: Jobs) -> None:
    refused = await jobs("list", "--state", "lost")
    assert (refused.code, refused.err) == (2, "--state lost: a job is queued, running, done, failed or cancelled.\n")


async def test_a_job_is_shown_with_what_it_was_called_with(jobs: Jobs, jobs_database: Database) -> None:
    id_ = await asked(jobs_database, key="k")
    lines = dict(line.split(None, 1) for line in (await jobs("show", str(id_))).out.splitlines() if " " in line)
    assert (lines["name"], lines["args"], lines["key"], lines["state"]) == ("test.count", '{"upto": 4}', "k", "queued")
    assert json.loads((await jobs("show", str(id_), "--json")).out)["args"] == {"upto": 4}


@pytest.mark.parametrize("command", ["show", "cancel", "retry", "watch"])
@pytest.mark.parametrize("id_", ["7", str(2**70)])
async def test_a_job_that_there_is_not(command: str, id_: str, jobs: Jobs) -> None:
    refused = await jobs(command, id_)
    assert refused.code == 2
    assert refused.err.startswith(f"There is no job {id_}.")


async def test_cancel_and_retry(jobs: Jobs, jobs_database: Database) -> None:
    id_ = await asked(jobs_database)
    assert (await jobs("cancel", str(id_))).out == f"Job {id_} (test.count) is cancelled.\n"
    again = await jobs("cancel", str(id_))
    assert (again.code, again.err) == (2, f"Job {id_} is cancelled: it has ended already.\n")
    assert (await jobs("retry", str(id_))).out == f"Job {id_} (test.count) waits for a worker.\n"
    assert (await row(jobs_database, id_)).state == "queued"
    refused = await jobs("retry", str(id_))
    assert refused.err == f"Job {id_} is queued: only one that has failed, or was cancelled, can be tried again.\n"
    claim = await begun(jobs_database, id_)
    assert (await jobs("cancel", str(id_))).out == f"Job {id_} (test.count) runs, and is told to end.\n"
    assert (await row(jobs_database, id_)).cancel_at
    async with jobs_database.writing() as unit:
        await transitions.cancelled(unit.session, claim)
    told = (await jobs("retry", str(id_))).out
    assert told == f"Job {id_} (test.count) waits for a worker and goes on where it was.\n"
    found = await row(jobs_database, id_)
    assert (found.state, found.checkpoint, found.failures, found.cancel_at) == ("queued", 2, 0, None)


async def test_several_at_once(jobs: Jobs, jobs_database: Database) -> None:
    ids = [await asked(jobs_database) for _ in range(2)]
    refused = await jobs("cancel", *map(str, ids), "4711")
    assert (refused.code, len(refused.out.splitlines())) == (2, 2)
    assert [(await row(jobs_database, id_)).state for id_ in ids] == ["cancelled"] * 2


async def test_one_whose_place_is_taken_waits_for_the_other(jobs: Jobs, jobs_database: Database) -> None:
    id_ = await asked(jobs_database, key="k")
    await jobs("cancel", str(id_))
    await asked(jobs_database, key="k")
    refused = await jobs("retry", str(id_))
    assert refused.err == f"Another job with the key k is open: job {id_} would do the same. Wait for that one.\n"


async def test_a_database_without_jobs(shelfmark: Callable[..., Ended], empty_database: str) -> None:
    refused = await asyncio.to_thread(shelfmark, "jobs", "list", DATABASE_URL=empty_database)
    assert (refused.code, refused.err) == (2, "The database has no table of jobs yet. Run `shelfmark migrate` first.\n")


async def test_watching_to_the_end(scratch: Path, own_database: str, jobs_database: Database) -> None:
    good, bad = await asked(jobs_database), await asked(jobs_database)
    with running(scratch, SHELFMARK, "jobs", "watch", str(good), str(bad), DATABASE_URL=own_database) as watch:
        await asyncio.to_thread(watch.until_said, f"{bad}  queued  test.count\n")
        claim = await begun(jobs_database, good)
        await asyncio.to_thread(watch.until_said, f"{good}  running  test.count  2 of 4 (50%)  half\n")
        await ended(jobs_database, claim)
        await ended(jobs_database, await begun(jobs_database, bad), "No such file.")
        await asyncio.to_thread(watch.until_said, f"{bad}  failed  test.count  2 of 4 (50%)  No such file.\n")
        assert await asyncio.to_thread(watch.ended, 10) == 1


async def test_watching_what_comes(scratch: Path, own_database: str, jobs_database: Database) -> None:
    with running(scratch, SHELFMARK, "jobs", "watch", DATABASE_URL=own_database) as watch:
        id_ = await asked(jobs_database)
        await asyncio.to_thread(watch.until_said, f"{id_}  queued")
        await ended(jobs_database, await begun(jobs_database, id_))
        await asyncio.to_thread(watch.until_said, f"{id_}  done")
        watch.process.send_signal(2)
        assert await asyncio.to_thread(watch.ended, 10) == 0


def made(id_: int, **values: object) -> JobRow:
    """A row that nobody keeps."""
    return JobRow(id=id_, name="test.count", **values)


def test_bars_on_a_terminal() -> None:
    screen = io.StringIO()
    with shown(Console(file=screen, force_terminal=True, width=100)) as bars:
        bars.wait()
        bars.wait()
        bars.tell(made(1, state="queued"))
        bars.tell(made(1, state="running", done=2, total=4, message="half"))
        for id_ in range(2, SHOWN_MOST + 3):
            bars.tell(made(id_, state="done"))
        bars.tell(made(1, state="failed", done=2, total=4, error="No [red]such[/] file."))
    last = screen.getvalue().rpartition("running")[2] + screen.getvalue()
    assert "job 1  test.count  2 of 4 (50%)  No [red]such[/] file." in last
    assert f"job {SHOWN_MOST + 2}" in last
