"""F6, imports: the worker of a large import killed again and again. In the end the rows are those of one that ran through."""

import asyncio
import random
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import Database
from service.jobs.job import enqueue
from service.jobs.spool import CHUNK_BYTES, Spool
from service.jobs.uploads import import_upload
from service.tables.sample import write
from tests.db.storms import watching
from tests.faults.figures import Figures, fault
from tests.faults.postgres import Postgres, own_postgres, prepared
from tests.faults.redis import own_redis
from tests.faults.workforce import Post, Workforce, workforce
from tests.fixtures.databases import settings_of
from tests.fixtures.processes import SHELFMARK
from tests.waiting import until

ROWS, KILLS, SOURCE, ROUNDS = 1_000_000, 20, "catalogue", 3
LEASE_SECONDS, LONG_SECONDS = 5.0, 1800.0
MEGABYTES_MOST, SPEED_LEAST = 160, 0.8
EMPTY = text("TRUNCATE authors, books CASCADE")
SOONER = text("UPDATE shelfmark_jobs SET lease = :lease WHERE id = :id")
REACHED = text("SELECT state, coalesce(CAST(checkpoint ->> 'line' AS bigint), 0) AS line FROM shelfmark_jobs WHERE id = :id")
HOW = text("""
SELECT state, failures, claim, error, CAST(extract(epoch FROM finished_at - started_at) AS float8) AS took
FROM shelfmark_jobs WHERE id = :id
""")
CONTENT = text("""
SELECT count(*), count(DISTINCT (source, source_key)), sum(hashtextextended(CAST(
  to_jsonb(books) - CAST('{id,author_id,version,created_at,updated_at}' AS text[]) || jsonb_build_object('author', authors.name)
AS text), 0))
FROM books JOIN authors ON authors.id = books.author_id
""")


@dataclass(frozen=True)
class Importing:
    """A database that may be emptied, a worker, and a file for both ways of importing it."""

    postgres: Postgres
    connection: AsyncConnection
    force: Workforce
    file: Path

    @property
    def worker(self) -> Post:
        """Who runs the job."""
        return self.force.workers[0]

    async def foreground(self) -> float:
        """Import by the command; the seconds it took."""
        await self.connection.execute(EMPTY)
        began = monotonic()
        command = (SHELFMARK, "import", "books", str(self.file), "--source", SOURCE)
        process = await asyncio.create_subprocess_exec(*command, env=self.worker.environment, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0
        return monotonic() - began

    async def asked(self) -> int:
        """Ask for an import by a job; its id."""
        await self.connection.execute(EMPTY)
        database = Database.connect(self.postgres.url, settings_of(self.postgres.url))
        spool = Spool(database)
        file = await spool.open("catalogue.csv", "upload", asked_by="tests")
        with self.file.open("rb") as reading:
            while data := await asyncio.to_thread(reading.read, CHUNK_BYTES):
                await spool.append(file, data)
        async with database.writing():
            await spool.seal(file)
            id_ = await enqueue(import_upload, table="books", upload=file, source=SOURCE)
        await database.close()
        await self.connection.execute(SOONER, {"lease": LEASE_SECONDS, "id": id_})
        return id_

    async def reached(self, id_: int) -> tuple[str, int]:
        """A job's state, and the line up to which its rows are merged."""
        state, line = (await self.connection.execute(REACHED, {"id": id_})).one()
        return state, line

    async def until_ended(self, id_: int) -> None:
        """Wait for a job's end."""

        async def ended() -> bool:
            return (await self.reached(id_))[0] not in {"queued", "running"}

        await until(ended, LONG_SECONDS)

    async def until_beyond(self, id_: int, line: int) -> int:
        """Wait until more than so many lines are merged; how many are."""

        async def beyond() -> bool:
            state, reached = await self.reached(id_)
            assert state in {"queued", "running"}, "it has ended before it could be killed often enough"
            return reached > line

        await until(beyond, LONG_SECONDS)
        return (await self.reached(id_))[1]


@asynccontextmanager
async def importing(rows: int, folder: Path) -> AsyncIterator[Importing]:
    """All that an import of so many rows needs."""
    file = folder / "catalogue.csv"
    with file.open("w", encoding="utf-8") as writing:
        write(writing, rows)
    with own_postgres() as postgres, own_redis() as redis:
        await prepared(postgres)
        async with watching(postgres.url) as connection, workforce(postgres.url, redis.url) as force:
            yield Importing(postgres, connection, force, file)


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> int:
    """How many are imported."""
    return int(request.config.getoption("--import-rows", default=ROWS))


@pytest.mark.slow
@fault(
    "F6, an import",
    done=f"the worker of an import of {ROWS:,} rows is killed (kill -9) {KILLS} times, whenever it has come further",
    holds="the rows are those of an import that ran through, compared by what the file says of them; its memory stays below "
    f"{MEGABYTES_MOST} MB",
)
async def test_an_import_is_killed(rows: int, tmp_path: Path, figures: Figures) -> None:
    async with importing(rows, tmp_path) as held:
        await held.foreground()
        whole = tuple((await held.connection.execute(CONTENT)).one())
        id_ = await held.asked()
        line, most = 0, 0
        for _ in range(KILLS):
            line = await held.until_beyond(id_, line)
            await asyncio.sleep(random.uniform(0.0, 0.5))  # noqa: S311
            most = max(most, held.worker.resident_bytes())
            held.worker.kill()
            await held.worker.begin()
        await held.until_ended(id_)
        most = max(most, held.worker.resident_bytes())
        found, how = tuple((await held.connection.execute(CONTENT)).one()), (await held.connection.execute(HOW, {"id": id_})).one()
    figures.tell(f"{rows:,} rows; {KILLS} kills, the highest claim {how.claim}, failures counted: {how.failures}; {how.state}")
    figures.tell(f"{found[0]:,} rows of {whole[0]:,}, {found[1]:,} keys; the same content: {'yes' if found == whole else 'NO'}")
    figures.tell(f"{most / 1e6:.0f} MB of memory at the most")
    assert how.state == "done", how.error
    assert found == whole
    assert most <= MEGABYTES_MOST * 1e6


@pytest.mark.slow
@fault(
    "F6, an import's speed",
    done=f"{ROWS:,} rows are imported by a job, and by the command, in turns",
    holds=f"the job is at least {SPEED_LEAST:.0%} as fast as the command",
)
async def test_an_import_by_a_job_is_as_fast(rows: int, tmp_path: Path, figures: Figures) -> None:
    command, job = [], []
    async with importing(rows, tmp_path) as held:
        for _ in range(ROUNDS):
            command.append(await held.foreground())
            id_ = await held.asked()
            await held.until_ended(id_)
            job.append(float((await held.connection.execute(HOW, {"id": id_})).one().took))
    part = statistics.median(mine / other for mine, other in zip(command, job, strict=True))
    figures.tell(f"{rows:,} rows: {rows / statistics.median(command):,.0f} a second by the command")
    figures.tell(f"{rows / statistics.median(job):,.0f} by a job, {part:.0%} as fast (median of {ROUNDS} rounds)")
    assert part >= SPEED_LEAST
