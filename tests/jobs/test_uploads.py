"""An uploaded file becomes rows, by a job: once, whatever becomes of its worker, in whole chunks, or not at all."""

import asyncio
import csv
import datetime
import gzip
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from service import schema
from service.db import Database, table_of
from service.errors import SetupError
from service.jobs import transitions, uploads
from service.jobs.apart import imported
from service.jobs.importing import Options
from service.jobs.job import How, enqueue
from service.jobs.rows import JobRow, JobRows
from service.jobs.running import perform
from service.jobs.spool import Spool
from service.jobs.uploads import import_upload
from service.settings import Settings
from service.tables.books import Book
from service.worker import things_of
from tests.fixtures.jobs import Ran, worked_off
from tests.waiting import until

DIRTY = Path(__file__).with_name("dirty.csv")
READ, GOOD = 14, 6
CHUNK = 3
LOCK = text("SELECT pg_advisory_lock(hashtextextended('shelfmark import books s', 0))")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows in each transaction, so that small files have many."""
    monkeypatch.setattr(uploads, "CHUNK_ROWS", CHUNK)


async def asked(database: Database, content: bytes, spool: Spool | None = None, **args: Any) -> int:
    """The job of an upload."""
    spool = spool or Spool(database)
    file = await spool.open(args.pop("name", "books.csv"), "upload", asked_by="k")
    await spool.append(file, content)
    async with database.writing():
        await spool.seal(file)
        return await enqueue(import_upload, How(asked_by="k"), **{"table": "books", "upload": file, "source": "s", **args})


async def row(database: Database, id_: int) -> JobRow:
    """A job's row."""
    return await JobRows(database).get(id_)


async def result_of(database: Database, id_: int) -> Any:
    """What a job gave."""
    return (await row(database, id_)).result


async def books(database: Database) -> int:
    """How many books there are."""
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(table_of(Book))) or 0


def numbered(rows: int) -> bytes:
    """A file of so many good rows."""
    return b"book_id,title,author\n" + b"".join(b"%d,Title %d,Author %d\n" % (number, number, number % 7) for number in range(rows))


def counts(result: Any) -> tuple[int, int, int, int, int]:
    """Read, inserted, updated, unchanged, rejected."""
    return tuple(result[name] for name in ("read", "inserted", "updated", "unchanged", "rejected"))


async def test_a_file_becomes_rows_and_its_rejects_a_file(committed: Database, settings: Settings) -> None:
    id_ = await asked(committed, DIRTY.read_bytes())
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
    result = await result_of(committed, id_)
    assert counts(result) == (READ, GOOD, 0, 0, READ - GOOD)
    assert (result["source"], result["dry_run"]) == ("s", False)
    assert await merged(committed, id_) == await books(committed) == GOOD
    found = await row(committed, id_)
    assert (found.done, found.total) == (GOOD, GOOD)
    rejects = result["rejects"]
    content = b"".join([data async for data in Spool(committed).read(rejects["file"])])
    assert len(content) == rejects["size"]
    assert rejects["name"] == "s.rejects.csv"
    lines = list(csv.DictReader(content.decode().splitlines()))
    assert [line["line"] for line in lines if line["line"].isdigit()] == ["3", "5", "8", "10", "11", "12", "13", "16"]
    assert (await Spool(committed).find(rejects["file"])).asked_by == "k"


async def test_the_same_file_again_changes_nothing(committed: Database, settings: Settings) -> None:
    first, second = await asked(committed, DIRTY.read_bytes()), await asked(committed, gzip.compress(DIRTY.read_bytes()))
    await worked_off(committed, settings)
    assert counts(await result_of(committed, first)) == (READ, GOOD, 0, 0, READ - GOOD)
    assert counts(await result_of(committed, second)) == (READ, 0, 0, GOOD, READ - GOOD)


async def test_a_dry_run_keeps_nothing(committed: Database, settings: Settings) -> None:
    id_ = await asked(committed, DIRTY.read_bytes(), dry_run=True)
    await worked_off(committed, settings)
    found = await row(committed, id_)
    assert counts(found.result) == (READ, GOOD, 0, 0, READ - GOOD)
    assert found.checkpoint is None
    assert await books(committed) == 0


async def test_too_many_rejects(committed: Database, settings: Settings) -> None:
    id_ = await asked(committed, DIRTY.read_bytes())
    await worked_off(committed, settings.model_copy(update={"upload_rejected_most": READ - GOOD - 1}))
    found = await row(committed, id_)
    assert (found.state, found.failures) == ("failed", 1)
    assert "has more than 7 records that can't be imported" in str(found.error)
    assert await books(committed) == 0


async def test_an_import_that_is_gone_on_with_is_not_refused_any_more(committed: Database, settings: Settings) -> None:
    """Another worker may have other settings: what is imported already stays."""
    id_ = await asked(committed, numbered(2 * CHUNK) + b"x,,\n")
    async with committed.writing() as unit:
        reached = {"line": CHUNK + 1, "inserted": 0, "updated": 0, "unchanged": CHUNK, "late": []}
        await unit.session.execute(update(JobRow).where(JobRow.id == id_).values(checkpoint=reached))
    await worked_off(committed, settings.model_copy(update={"upload_rejected_most": 0}))
    assert (await row(committed, id_)).state == "done"


async def test_no_rejects_no_file(committed: Database, settings: Settings) -> None:
    id_ = await asked(committed, numbered(5))
    await worked_off(committed, settings)
    assert (await result_of(committed, id_))["rejects"] is None


@pytest.mark.parametrize(
    ("content", "args", "error"),
    [
        (b"", {}, "books.csv is empty."),
        (b"colour\nred\n", {}, "books.csv: the first line has no header that is known"),
        (gzip.compress(numbered(100))[:-20], {}, "books.csv is damaged"),
        (b"PK\x03\x04" + b"x" * 100, {}, "a zip archive"),
        (numbered(1), {"table": "events"}, "No file can be imported into events"),
        (numbered(1), {"source": "x" * 201}, "The source must have 1 to 200 characters"),
    ],
    ids=["empty", "no header", "cut off", "a zip", "no import", "source"],
)
async def test_what_cannot_be_imported_fails_at_once(
    committed: Database, settings: Settings, content: bytes, args: dict[str, Any], error: str
) -> None:
    id_ = await asked(committed, content, **args)
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["failed"]
    found = await row(committed, id_)
    assert error in (found.error or "")
    assert "/tmp" not in (found.error or "")  # noqa: S108 - where a worker keeps it is nobody's business
    assert await books(committed) == 0


async def test_a_bomb_is_not_unpacked_to_its_end(committed: Database, settings: Settings) -> None:
    bomb = gzip.compress(numbered(3) + b"9,x,y\n" * 1_000_000)
    id_ = await asked(committed, bomb, name="b.csv.gz")
    assert len(bomb) < 50_000
    await worked_off(committed, settings.model_copy(update={"upload_unpacked_most": 100_000}))
    assert (await row(committed, id_)).error == (
        "b.csv.gz has more than 100,000 bytes, unpacked: the most that is read of one file. Divide it."
    )
    assert await books(committed) == 0


async def test_a_file_that_expired(committed: Database, settings: Settings) -> None:
    id_ = await asked(committed, numbered(3))
    await Spool(committed).release((await row(committed, id_)).args["upload"], datetime.timedelta(seconds=-1))
    await worked_off(committed, settings)
    assert (await row(committed, id_)).error == "The file is gone: it expired before it was imported. Upload it again."


async def begun(database: Database, settings: Settings) -> "asyncio.Task[Any]":
    """The run of the job that is due."""
    async with database.writing() as unit:
        (claim,) = await transitions.hand_out(unit.session, 10, room=10)
    jobs = {import_upload.name: import_upload}
    return asyncio.create_task(perform(database, jobs, claim, things_of(database, settings, {})))


async def merged(database: Database, id_: int) -> int:
    """The rows that a job has merged so far."""
    checkpoint = (await row(database, id_)).checkpoint
    return 0 if checkpoint is None else int(checkpoint["inserted"])


async def overdue(database: Database) -> None:
    """Let the leases of all runs end."""
    async with database.writing() as unit:
        await unit.session.execute(text("UPDATE shelfmark_jobs SET due_at = clock_timestamp() - interval '1 second'"))


async def test_a_run_goes_on_where_a_killed_one_had_come_to(committed: Database, settings: Settings) -> None:
    """The run is broken off in its midst, twice; what is in the table then is whole chunks, and in the end every row, once."""
    rows = 300
    id_ = await asked(committed, numbered(rows))
    reached = [0]
    for _ in range(2):
        run = await begun(committed, settings)
        await until(lambda: _is_beyond(committed, id_, reached[-1] + 30))
        run.cancel()
        await asyncio.wait([run])
        reached.append(await merged(committed, id_))
        assert await books(committed) == reached[-1] < rows
        assert reached[-1] % CHUNK == 0
        await overdue(committed)
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
    assert counts(await result_of(committed, id_)) == (rows, rows, 0, 0, 0)
    assert await books(committed) == rows


async def _is_beyond(database: Database, id_: int, rows: int) -> bool:
    return await merged(database, id_) > rows


async def test_a_run_that_was_overtaken_keeps_nothing_more(committed: Database, settings: Settings) -> None:
    """Two runs of one job: the first stands still for a while, and comes back when another has gone on."""
    rows = 300
    id_ = await asked(committed, numbered(rows))
    first = await begun(committed, settings)
    await until(lambda: _is_beyond(committed, id_, 30))
    ran: list[Ran] = []
    while not ran:  # the first run renews its lease with each chunk
        await overdue(committed)
        ran = await worked_off(committed, settings)
    assert [one.outcome for one in ran] == ["done"]
    await asyncio.wait([first])
    assert first.result()[1] in {"fenced", "queued"}  # by its claim, or since its connection was ended
    assert counts(await result_of(committed, id_)) == (rows, rows, 0, 0, 0)
    assert (await row(committed, id_)).state == "done"
    assert await books(committed) == rows


async def test_a_cancelled_job_leaves_whole_chunks(committed: Database, settings: Settings) -> None:
    id_ = await asked(committed, numbered(300))
    run = await begun(committed, settings)
    await until(lambda: _is_beyond(committed, id_, 30))
    async with committed.writing() as unit:
        await transitions.cancel(unit.session, id_)
    await asyncio.wait([run])
    assert run.result()[1] == "cancelled"
    assert 0 < await books(committed) == await merged(committed, id_) < 300


async def test_one_that_waits_for_its_source_takes_no_slot_and_has_not_failed(committed: Database, settings: Settings) -> None:
    id_ = await asked(committed, numbered(3))
    async with committed.writes.engine.connect() as other:
        await other.execute(LOCK)
        for _ in range(uploads.import_upload.attempts + 1):
            assert [ran.outcome for ran in await worked_off(committed, settings)] == ["postponed"]
            await overdue(committed)
        found = await row(committed, id_)
        assert (found.state, found.failures, found.error) == ("queued", 0, None)
        assert found.message == "waiting for another import into books from s"
        await other.execute(text("SELECT pg_advisory_unlock_all()"))
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
    assert await books(committed) == 3


async def test_one_that_waits_is_cancelled_at_once(committed: Database, settings: Settings) -> None:
    id_ = await asked(committed, numbered(3))
    async with committed.writes.engine.connect() as other:
        await other.execute(LOCK)
        assert [ran.outcome for ran in await worked_off(committed, settings)] == ["postponed"]
        async with committed.writing() as unit:
            assert await transitions.cancel(unit.session, id_) == "cancelled"


def labelled(label: str, rows: int) -> bytes:
    """A file of so many rows with the same keys as any other such file, and titles of its own."""
    return b"book_id,title,author\n" + b"".join(b"%d,%s %d,Ada\n" % (number, label.encode(), number) for number in range(rows))


async def labels(database: Database) -> set[str]:
    """The files that books are of."""
    async with database.reading() as session:
        return {title.split()[0] for title in await session.scalars(select(Book.title))}


async def killed(database: Database, settings: Settings, id_: int) -> None:
    """The run of the job that is due, killed in its midst; its lease has ended."""
    run = await begun(database, settings)
    await until(lambda: _is_beyond(database, id_, 0))
    run.cancel()
    await asyncio.wait([run])
    await overdue(database)


async def later(database: Database, id_: int) -> None:
    """Put off the next try of a job."""
    async with database.writing() as unit:
        put_off = text("UPDATE shelfmark_jobs SET due_at = clock_timestamp() + interval '1 hour' WHERE id = :id")
        await unit.session.execute(put_off, {"id": id_})


async def test_two_files_of_a_source_never_end_as_a_mix(committed: Database, settings: Settings) -> None:
    """The later one waits while the earlier one, whose worker was killed, has a part of its rows in the table."""
    first = await asked(committed, labelled("old", 300))
    await killed(committed, settings, first)
    await later(committed, first)
    second = await asked(committed, labelled("new", 300))
    assert [(ran.id, ran.outcome) for ran in await worked_off(committed, settings)] == [(second, "postponed")]
    assert await labels(committed) == {"old"}
    await overdue(committed)
    for _ in range(2):
        await worked_off(committed, settings)
        await overdue(committed)
    assert [(await row(committed, id_)).state for id_ in (first, second)] == ["done", "done"]
    assert await labels(committed) == {"new"}


async def test_one_that_has_begun_goes_before_one_that_was_asked_for_earlier(committed: Database, settings: Settings) -> None:
    """That was seen late, or is tried again by hand."""
    first = await asked(committed, labelled("old", 300))
    async with committed.writing() as unit:
        await transitions.cancel(unit.session, first)
    second = await asked(committed, labelled("new", 300))
    await killed(committed, settings, second)
    async with committed.writing() as unit:
        assert await transitions.retry(unit.session, first)
    await later(committed, second)
    assert [(ran.id, ran.outcome) for ran in await worked_off(committed, settings)] == [(first, "postponed")]
    await overdue(committed)
    assert [(ran.id, ran.outcome) for ran in await worked_off(committed, settings)] == [(second, "done"), (first, "done")]
    assert await labels(committed) == {"old"}


async def test_an_import_that_is_tried_again_by_hand_begins_anew(committed: Database, settings: Settings) -> None:
    """Another file may have been imported meanwhile."""
    first = await asked(committed, labelled("old", 300))
    await killed(committed, settings, first)
    async with committed.writing() as unit:
        await transitions.cancel(unit.session, first)
    second = await asked(committed, labelled("new", 300))
    assert [(ran.id, ran.outcome) for ran in await worked_off(committed, settings)] == [(second, "done")]
    async with committed.writing() as unit:
        assert await transitions.retry(unit.session, first)
    assert [(ran.id, ran.outcome) for ran in await worked_off(committed, settings)] == [(first, "done")]
    assert await labels(committed) == {"old"}


async def test_one_that_finds_another_ahead_when_it_has_the_lock_keeps_nothing(
    committed: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the other had the lock at the time of the look before."""
    first = await asked(committed, labelled("old", 300))
    await killed(committed, settings, first)

    async def looked(_importing: Any) -> None:
        pass

    monkeypatch.setattr("service.jobs.uploads._Importing.wait", looked)
    await later(committed, first)
    second = await asked(committed, labelled("new", 300))
    assert [(ran.id, ran.outcome) for ran in await worked_off(committed, settings)] == [(second, "postponed")]
    assert (await row(committed, second)).checkpoint is None
    assert await labels(committed) == {"old"}


async def test_the_command_does_not_come_between_two_runs_of_a_job(
    committed: Database, settings: Settings, database_url: str, tmp_path: Path
) -> None:
    first, file = await asked(committed, labelled("old", 300)), tmp_path / "s.csv"
    await killed(committed, settings, first)
    file.write_bytes(labelled("new", 300))
    declared = schema.imports().chosen("books")
    with pytest.raises(SetupError, match=f"Job {first} imports into books from the source 's' and has come part of the way"):
        await imported(database_url, declared, file, Options())
    assert await labels(committed) == {"old"}
    await imported(database_url, declared, file, Options(dry_run=True))
    await imported(database_url, declared, file, Options(source="other"))
    async with committed.writing() as unit:
        await transitions.cancel(unit.session, first)
    await imported(database_url, declared, file, Options())
    assert await labels(committed) == {"new"}


async def test_an_upload_is_kept_for_as_long_as_it_counts(committed: Database, settings: Settings) -> None:
    """And no longer than for that."""
    id_ = await asked(committed, numbered(3))
    before = await Spool(committed).find((await row(committed, id_)).args["upload"])
    await worked_off(committed, settings)
    after = await Spool(committed).find(before.id)
    assert datetime.timedelta(hours=23) < after.expires_at - after.created_at < before.expires_at - before.created_at


async def test_what_a_stopped_worker_holds_is_taken_from_it(committed: Database, settings: Settings) -> None:
    """Its connection is ended by the run that takes over: else the lock of the import would be held for ever."""
    id_ = await asked(committed, numbered(3))
    named = {"server_settings": {"application_name": f"shelfmark job {id_}"}}
    engine = create_async_engine(committed.writes.engine.url, poolclass=NullPool, connect_args=named)
    async with engine.connect() as stopped:
        await stopped.execute(text("SELECT pg_advisory_lock(hashtextextended('shelfmark import books s', 0))"))
        assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
        with pytest.raises(DBAPIError):
            await stopped.execute(text("SELECT 1"))
    await engine.dispose()
    assert await books(committed) == 3


async def test_a_table_that_is_away_is_no_fault_of_the_file(committed: Database, settings: Settings) -> None:
    """It is tried again."""
    id_ = await asked(committed, numbered(3))
    rename = "ALTER TABLE {} RENAME TO {}"
    async with committed.writing() as unit:
        await unit.session.execute(text(rename.format("books", "books_away")))
    try:
        assert [ran.outcome for ran in await worked_off(committed, settings)] == ["queued"]
        assert "isn't there yet" in ((await row(committed, id_)).error or "")
    finally:
        async with committed.writing() as unit:
            await unit.session.execute(text(rename.format("books_away", "books")))


async def test_a_worker_that_looks_elsewhere_says_so_and_another_one_may_go_on(
    committed: Database, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "other").mkdir()
    shared, other = (settings.model_copy(update={"spool_directory": tmp_path / name}) for name in ("shared", "other"))
    id_ = await asked(committed, numbered(3), Spool.of(committed, shared))
    for elsewhere in (settings, other):
        assert [ran.outcome for ran in await worked_off(committed, elsewhere)] == ["queued"]
        error = str((await row(committed, id_)).error)
        assert "SHELFMARK_SPOOL_DIRECTORY must lead to the same directory in every process" in error
        assert str(tmp_path) not in error
        await overdue(committed)
    (tmp_path / "shared").rename(tmp_path / "away")
    assert [ran.outcome for ran in await worked_off(committed, shared)] == ["queued"]
    assert "The directory that files are kept in can't be used right now" in str((await row(committed, id_)).error)
    (tmp_path / "away").rename(tmp_path / "shared")
    await overdue(committed)
    assert [ran.outcome for ran in await worked_off(committed, shared)] == ["done"]


def sizes(directory: Path) -> list[int]:
    """Of the files in a directory."""
    return sorted(path.stat().st_size for path in directory.iterdir())


async def test_files_in_a_shared_directory(committed: Database, settings: Settings, tmp_path: Path) -> None:
    shared = settings.model_copy(update={"spool_directory": tmp_path})
    id_ = await asked(committed, DIRTY.read_bytes(), Spool.of(committed, shared))
    assert [ran.outcome for ran in await worked_off(committed, shared)] == ["done"]
    result = await result_of(committed, id_)
    assert counts(result) == (READ, GOOD, 0, 0, READ - GOOD)
    assert sizes(tmp_path) == sorted([DIRTY.stat().st_size, result["rejects"]["size"]])
