"""`shelfmark worker`, as a process of its own: jobs are run, a signal ends it in order, and it says what it lacks."""

import asyncio
import signal
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.db import Database
from service.jobs.job import enqueue
from service.jobs.spool import Spool
from service.jobs.spooling import export_question
from service.local.urls import database_url, redis_url
from service.settings import Settings
from tests.factories.authors import AuthorFactory
from tests.fixtures.processes import BARE, REPOSITORY, SECRET, SHELFMARK, run, running
from tests.jobs.errands import add, authors, passed, row, wait, write
from tests.waiting import until

EXPORTED = 60_000
FILLED = text("""
INSERT INTO books (author_id, title, published_year)
SELECT :author, 'Title ' || n || repeat(', and more', 10), n % 50 FROM generate_series(1, :rows) n
""")
QUESTION = (("sort", "-published_year"), ("fields", "id,title,published_year"))
HASTE = {"SHELFMARK_JOB_GRACE_SECONDS": "0.2"}


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """What a worker is told."""
    return {"DATABASE_URL": str(database_url(settings)), "REDIS_URL": str(redis_url(settings)), "SHELFMARK_SECRETS": SECRET} | HASTE


async def test_a_life(committed: Database, environment: dict[str, str], tmp_path: Path) -> None:
    """A job that no worker knows is tried again later; two workers share the others; SIGTERM hands back what runs."""
    async with committed.writing() as unit:
        unknown = await add(unit.session, name="test.of another version")
    with running(tmp_path, SHELFMARK, "worker", **environment) as worker:
        await until(lambda: _has_failed(committed, unknown), 60)
        assert "knows no job test.of another version" in str((await row(committed, unknown)).error)
        worker.process.send_signal(signal.SIGINT)
        await until(lambda: worker.process.poll() is not None, 30)
        assert worker.process.returncode == 0, worker.said()


async def test_sigterm_hands_back_what_runs_and_kill_leaves_it_to_the_lease(
    committed: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    async with committed.writing() as unit:
        slow = await add(unit.session, name=wait.name, args={"name": "slow"}, lease=3)
        quick = await add(unit.session, name=write.name, args={"names": ["quick"]})
    command = (str(Path(SHELFMARK).with_name("python")), "-m", "tests.fixtures.working")
    with running(tmp_path, *command, **environment, PYTHONPATH=str(REPOSITORY)) as first:
        await until(lambda: _authors_are(committed, {"quick", "slow"}), 60)
        await until(lambda: _is(committed, quick, "done"))
        first.process.send_signal(signal.SIGTERM)
        await until(lambda: first.process.poll() is not None, 30)
        assert first.process.returncode == 0, first.said()
    found = await row(committed, slow)
    assert (found.state, found.failures, found.checkpoint) == ("queued", 0, 1)
    assert '"the worker ends"' in first.said()


async def test_a_worker_that_is_looked_after_ends_with_whoever_does(environment: dict[str, str], tmp_path: Path) -> None:
    """Also where that was killed."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        worker = subprocess.Popen(  # noqa: ASYNC220 - a pipe that the test itself holds
            (SHELFMARK, "worker", "--attended"),
            cwd=tmp_path,
            env=BARE | environment,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
        )
    await until(lambda: "a worker has begun" in log.read_text(), 60)
    assert worker.stdin
    worker.stdin.close()
    await until(lambda: worker.poll() is not None, 30)
    assert worker.returncode == 0, log.read_text()


def test_what_it_lacks(tmp_path: Path, environment: dict[str, str]) -> None:
    ended = run(tmp_path, SHELFMARK, "worker", **(environment | {"REDIS_URL": ""}))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "REDIS_URL is not set" in ended.err


async def test_an_export_whose_worker_is_killed_is_gone_on_with(
    committed: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    """A run is held up in its midst by the lock of its file, and killed there: the next one writes the bytes that are missing."""
    author = await AuthorFactory.create()
    async with committed.writing() as unit:
        await unit.session.execute(FILLED, {"author": author.id, "rows": EXPORTED})
        id_ = await enqueue(export_question, table="books", question=[*QUESTION], form="csv", formulas="quote", within={})
    with running(tmp_path, SHELFMARK, "worker", **environment) as first:
        async with AsyncExitStack() as held:
            await until(lambda: _has_bytes(committed), 60)
            unit = await held.enter_async_context(committed.writing())
            await unit.session.execute(text("SELECT 1 FROM shelfmark_files FOR UPDATE"))
            first.process.kill()
            await until(lambda: first.process.poll() is not None)
    async with committed.writing() as unit:
        await passed(unit.session, id_, 60)
    killed = await row(committed, id_)
    assert (killed.state, 0 < (killed.done or 0) < EXPORTED) == ("running", True), killed.done
    with running(tmp_path, SHELFMARK, "worker", **environment) as second:
        await until(lambda: _is(committed, id_, "done"), 60)
        assert second.end(signal.SIGTERM) == 0, second.said()
    done: Any = await row(committed, id_)
    written = b"".join([data async for data in Spool(committed).read(done.checkpoint["file"])])
    question = "&".join(f"{name}={value}" for name, value in QUESTION)
    ended = await asyncio.to_thread(run, tmp_path, SHELFMARK, "export", "books", question, "-o", "expected.csv", **environment)
    assert ended.code == 0, ended.err
    assert written == (tmp_path / "expected.csv").read_bytes()
    assert (done.result["rows"], done.result["bytes"]) == (EXPORTED, len(written))


async def _has_bytes(database: Database) -> bool:
    async with database.reading() as session:
        return bool(await session.scalar(text("SELECT sum(size) FROM shelfmark_files")))


async def _has_failed(database: Database, id_: int) -> bool:
    return (await row(database, id_)).failures > 0


async def _is(database: Database, id_: int, state: str) -> bool:
    return (await row(database, id_)).state == state


async def _authors_are(database: Database, names: set[str]) -> bool:
    return set(await authors(database)) == names
