"""F13: the disk is full. Writes are refused as 507, reads go on where PostgreSQL lets them, it heals, and nothing is lost."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import Database
from service.db.faults import FULL as FULL_DISK
from service.jobs import transitions
from service.jobs.job import How, Job, enqueue
from service.jobs.pruning import prune
from service.jobs.spool import Spool
from service.jobs.spooling import export_question
from service.settings import Settings
from tests.db.storms import watching
from tests.faults.disks import Disk, small_disk
from tests.faults.figures import MOUNT, Figures, fault
from tests.faults.load import Told, load, missing
from tests.faults.postgres import Postgres, own_postgres, prepared
from tests.faults.redis import own_redis
from tests.faults.served import served
from tests.faults.workforce import workforce
from tests.fixtures.processes import SHELFMARK, run
from tests.waiting import until

FULL = 507
REFUSED = 20
TABLES_MEGABYTES, ALL_MEGABYTES = 48, 256
WITHIN_SECONDS = 2.0
ROWS = text("SELECT count(*) FROM books")
EXPORTED, FREE_BYTES, GIVEN_UP_SECONDS = 60_000, 4 << 20, 120.0
FILLED = text("""
WITH author AS (INSERT INTO authors (name) VALUES ('Ada') RETURNING id)
INSERT INTO books (author_id, title)
SELECT author.id, (SELECT string_agg(md5(n || '/' || part), '') FROM generate_series(1, 4) part)
FROM author, generate_series(1, :rows) n
""")
HOW = text("""
SELECT state, error, failures, done, result, CAST(checkpoint ->> 'file' AS bigint) AS file FROM shelfmark_jobs WHERE id = :id
""")
LIVING = text("SELECT count(*) FROM shelfmark_files WHERE expires_at > clock_timestamp()")


@contextmanager
def beside(megabytes: int) -> Iterator[tuple[Postgres, Disk]]:
    """A server, and a disk that is for its tables only: its log and its catalogue are elsewhere."""
    with own_postgres() as postgres:
        where = postgres.where.directory.parent / f"{postgres.where.directory.name}-tables"
        with small_disk(where, megabytes) as disk:
            try:
                yield postgres, disk
            finally:
                postgres.stop()


async def settle_on(postgres: Postgres, disk: Disk) -> None:
    """Have the service's tables and indexes made on a disk."""
    space = disk.path / "space"
    space.mkdir(mode=0o700)
    postgres.where.account.own(space)
    async with watching(postgres.url) as connection:
        await connection.execute(text(f"CREATE TABLESPACE small LOCATION '{space}'"))
        await connection.execute(text("ALTER DATABASE shelfmark SET default_tablespace = small"))


def refused(told: Told, number: int) -> bool:
    """Whether so many writes were refused for want of room."""
    return told.statuses("write")[FULL] >= number


def written(told: Told, number: int) -> bool:
    """Whether so many writes were done."""
    return len(told.written) >= number


async def rows(postgres: Postgres) -> int:
    """How many books there are."""
    async with watching(postgres.url) as connection:
        return int(await connection.scalar(ROWS) or 0)


@pytest.mark.slow
@fault(
    "F13",
    done="the disk of the tables is full, under load, until there is room again",
    holds="writes: only 507, or done; reads: none is refused; writes go on 2 s after there is room; nothing is lost or half done",
    needs=MOUNT,
)
async def test_the_disk_of_the_tables_is_full(figures: Figures) -> None:
    with beside(TABLES_MEGABYTES) as (postgres, disk):
        await settle_on(postgres, disk)
        await prepared(postgres)
        with served(postgres.url) as serving:
            async with load(serving.base) as told:
                await until(partial(written, told, 50))
                disk.fill()
                left = disk.free_bytes()
                await until(partial(refused, told, REFUSED))
                disk.make_room()
                room = monotonic()
                await until(partial(written, told, len(told.written) + 50))
        lost, twice = await missing(postgres.url, told)
        found = await rows(postgres)
    again = min(one.ended for one in told.answers if one.kind == "write" and one.status == 201 and one.began >= room) - room
    figures.tell(f"{left} bytes free: {told.in_words()}")
    figures.tell(f"first write {again:.2f} s after there was room, last refusal {told.last_refused(room):.2f} s after")
    figures.tell(f"{len(told.written):,} writes acknowledged, {found:,} rows, {lost} lost, {twice} there twice")
    assert set(told.statuses("read")) == {200}
    assert set(told.statuses("write")) == {201, FULL}
    assert all(one.may_return for one in told.refused("write"))
    assert max(again, told.last_refused(room)) <= WITHIN_SECONDS
    assert (lost, twice, found) == (0, 0, len(told.written))


async def used_up(postgres: Postgres) -> None:
    """Have PostgreSQL begin new files of its log until it has no room for one, which ends it."""
    with suppress(DBAPIError, InterfaceError, OSError):
        async with watching(postgres.url) as connection:
            while True:
                await connection.execute(text("SELECT pg_logical_emit_message(false, 'fault', 'full', true)"))
                await connection.execute(text("SELECT pg_switch_wal()"))


@pytest.mark.slow
@fault(
    "F13, the log",
    done="the disk of everything is full, under load, until PostgreSQL can't write its log and ends; then there is room, and it is "
    "started again",
    holds="nobody hangs; only 507 and 503; writes go on 2 s after it is ready; nothing acknowledged is lost",
    needs=MOUNT,
)
async def test_the_disk_of_the_log_is_full(figures: Figures) -> None:
    with own_postgres(ALL_MEGABYTES) as postgres:
        disk = Disk(postgres.where.data)
        await prepared(postgres)
        with served(postgres.url) as serving:
            async with load(serving.base) as told:
                await until(partial(written, told, 50))
                disk.fill()
                await until(partial(refused, told, REFUSED))
                await used_up(postgres)
                await asyncio.sleep(1.0)
                disk.make_room()
                await asyncio.to_thread(postgres.start)
                ready = monotonic()
                await until(partial(written, told, len(told.written) + 50))
        lost, twice = await missing(postgres.url, told)
    again = min(one.ended for one in told.answers if one.kind == "write" and one.status == 201 and one.began >= ready) - ready
    figures.tell(f"{told.in_words()}; longest read {told.longest('read'):.2f} s, write {told.longest('write'):.2f} s")
    figures.tell(f"first write {again:.2f} s after it was ready, last refusal {told.last_refused(ready):.2f} s after")
    figures.tell(f"{len(told.written):,} writes acknowledged, {lost} lost, {twice} there twice")
    assert set(told.statuses("read")) == {200, 503}
    assert set(told.statuses("write")) == {201, 503, FULL}
    assert all(one.may_return for one in told.answers if one.status in {503, FULL})
    assert max(again, told.last_refused(ready)) <= WITHIN_SECONDS
    assert (lost, twice) == (0, 0)


async def asked_for(postgres: Postgres, work: Job[Any], **args: Any) -> int:
    """A job, asked for by nobody in particular; its id."""
    async with writing(postgres) as database, database.writing():
        return await enqueue(work, How(asked_by="k"), **args)


@asynccontextmanager
async def writing(postgres: Postgres) -> AsyncIterator[Database]:
    """A server's database, for a few statements."""
    database = Database.connect(postgres.url, Settings(_env_file=None))
    try:
        yield database
    finally:
        await database.close()


async def has_ended(connection: AsyncConnection, id_: int, state: str) -> bool:
    """Whether a job has ended; it must be in this state then."""
    found = (await connection.execute(HOW, {"id": id_})).one()
    assert found.state in {"queued", "running", state}, found
    return bool(found.state == state)


@pytest.mark.slow
@fault(
    "F13, of files",
    done="the disk of files becomes full through an export; later there is room again, and the job is retried",
    holds="it is tried again, then fails and says why; its half file is dropped, and other jobs go on; retried, its file is whole",
    needs=MOUNT,
)
async def test_the_disk_of_files_is_full(figures: Figures, tmp_path: Path) -> None:
    with beside(ALL_MEGABYTES) as (postgres, disk), own_redis() as redis:
        await prepared(postgres)
        space = disk.path / "space"
        space.mkdir(mode=0o700)
        postgres.where.account.own(space)
        async with watching(postgres.url) as connection:
            await connection.execute(text(f"CREATE TABLESPACE small LOCATION '{space}'"))
            await connection.execute(text("ALTER TABLE shelfmark_chunks SET TABLESPACE small"))
            await connection.execute(FILLED, {"rows": EXPORTED})
            await connection.execute(text("ANALYZE books"))
            disk.fill()
            os.truncate(disk.ballast, disk.ballast.stat().st_size - FREE_BYTES)
            async with workforce(postgres.url, redis.url):
                wanted: dict[str, Any] = {"question": [("sort", "id"), ("fields", "id,title")], "form": "csv", "formulas": "keep"}
                id_ = await asked_for(postgres, export_question, table="books", within={}, **wanted)
                await until(lambda: has_ended(connection, id_, "failed"), GIVEN_UP_SECONDS)
                failed = (await connection.execute(HOW, {"id": id_})).one()
                living = await connection.scalar(LIVING)
                other = await asked_for(postgres, prune)
                await until(lambda: has_ended(connection, other, "done"))
                disk.make_room()
                async with writing(postgres) as database, database.writing() as unit:
                    assert await transitions.retry(unit.session, id_)
                await until(lambda: has_ended(connection, id_, "done"))
                done = (await connection.execute(HOW, {"id": id_})).one()
            async with writing(postgres) as database:
                written = b"".join([data async for data in Spool(database).read(done.file)])
            expected = tmp_path / "expected.csv"
            command = (SHELFMARK, "export", "books", "sort=id&fields=id,title", "--formulas", "keep", "-o", str(expected))
            ended = await asyncio.to_thread(run, tmp_path, *command, DATABASE_URL=postgres.url)
    assert ended.code == 0, ended.err
    figures.tell(f"failed after {failed.failures} failures, at {failed.done:,} of {EXPORTED:,} rows: {failed.error}")
    figures.tell(f"{living} files left; retried: {done.result['rows']:,} rows, {done.result['bytes']:,} bytes")
    assert 0 < failed.done < EXPORTED
    assert (failed.error, failed.result, living) == (FULL_DISK, None, 0)
    assert done.result["rows"] == EXPORTED
    assert written == expected.read_bytes()
