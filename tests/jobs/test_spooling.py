"""A question becomes a file, by a job: the same bytes whatever becomes of its workers, or a sentence and no file at all."""

import asyncio
import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from service import schema
from service.db import Database
from service.db.bound import Bound
from service.db.catalogue import Catalogue
from service.http.callers import NOBODY
from service.http.confining import EVERY_ROW, Rows
from service.http.exporting import export_of
from service.jobs import exporting, spooling, transitions
from service.jobs.directory import FULL
from service.jobs.exporting import Exporting
from service.jobs.files import CHUNKS, FILES, NOW
from service.jobs.job import How, enqueue
from service.jobs.lines import Style
from service.jobs.links import ROUTE, Links
from service.jobs.opening import Format
from service.jobs.pruning import prune
from service.jobs.rows import JobRow
from service.jobs.running import perform
from service.jobs.spool import FileGone, Spool
from service.jobs.spooling import export_question
from service.settings import Settings, section
from service.tables.books import router as books
from service.worker import things_of
from tests.factories.authors import AuthorFactory
from tests.faults.disks import small_disk
from tests.faults.figures import MOUNT, may_mount
from tests.fixtures.jobs import worked_off
from tests.jobs.errands import row

ROWS = 60
FORMS: tuple[Format, ...] = ("csv", "ndjson")
FILLED = text("""
INSERT INTO books (author_id, title, published_year)
SELECT :author, 'Title, "' || n % 5 || '"', CASE WHEN n % 3 > 0 THEN n % 4 - 2 END FROM generate_series(1, :count) n
""")
SORT = ("sort", "-published_year")
FIELDS = ("fields", "id,title,published_year")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows to a page and few pages to a piece, so that small files have many; and no patience."""
    monkeypatch.setattr(exporting, "PAGE_ROWS", (1, 1, 2, 3))
    monkeypatch.setattr(exporting, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(spooling, "PIECE_BYTES", 120)


@pytest.fixture(params=["database", "directory"])
def kept_in(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    """Settings that keep files in either place."""
    return settings.model_copy(update={"spool_directory": tmp_path if request.param == "directory" else None})


async def filled(database: Database, count: int = ROWS) -> None:
    """Books with equal keys and NULLs."""
    author = await AuthorFactory.create()
    async with database.writing() as unit:
        await unit.session.execute(FILLED, {"author": author.id, "count": count})


async def asked(database: Database, *question: tuple[str, str], **args: Any) -> int:
    """The job of a question."""
    given = {"table": "books", "form": "csv", "formulas": "quote", "within": {}, **args}
    async with database.writing():
        return await enqueue(export_question, How(asked_by="k"), question=[*(question or (SORT, FIELDS))], **given)


async def expected(database: Database, form: Format = "csv") -> bytes:
    """The file of the same question, made in one go."""
    table = books.table
    asking, _ = table.understood([SORT, FIELDS], Rows(NOBODY, EVERY_ROW), database, Settings(_env_file=None))
    export = export_of(table, table.repository(database), table.of, asking, Style(form))
    return b"".join([part.data async for part in Exporting(export)])


async def content(database: Database, url: str, settings: Settings, spool: Spool | None = None) -> bytes:
    """What a link leads to."""
    file = Links.of(settings).file(url.removeprefix(f"{ROUTE}/"))
    return b"".join([data async for data in (spool or Spool(database)).read(file)])


async def ended(database: Database, id_: int) -> Any:
    """A job's row, after it has ended or was broken off."""
    return await row(database, id_)


async def made(database: Database, id_: int, settings: Settings) -> bytes:
    """The file that a job has made."""
    result: Any = (await row(database, id_)).result
    return await content(database, result["url"], settings, Spool.of(database, settings))


async def count(database: Database, what: Any, *where: Any) -> int:
    """How many rows a table has."""
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(what).where(*where)) or 0


async def living(database: Database) -> int:
    """How many files there are that haven't been dropped."""
    return await count(database, FILES, FILES.c.expires_at > NOW)


async def overdue(database: Database) -> None:
    """Let what is due later be due now, the ends of leases too."""
    async with database.writing() as unit:
        await unit.session.execute(text("UPDATE shelfmark_jobs SET due_at = clock_timestamp() - interval '1 second'"))


async def begun(database: Database, settings: Settings) -> "asyncio.Task[Any]":
    """The run of the job that is due."""
    async with database.writing() as unit:
        (claim,) = await transitions.hand_out(unit.session, 10, room=10)
    jobs = {export_question.name: export_question}
    return asyncio.create_task(perform(database, jobs, claim, things_of(database, settings, {})))


async def outcomes(database: Database, settings: Settings) -> list[str]:
    """How the runs ended of what is due."""
    return [ran.outcome for ran in await worked_off(database, settings)]


@pytest.mark.parametrize("form", ["csv", "ndjson"])
async def test_a_question_becomes_a_file(form: Format, committed: Database, settings: Settings) -> None:
    await filled(committed)
    id_ = await asked(committed, form=form)
    assert await outcomes(committed, settings) == ["done"]
    found = await ended(committed, id_)
    whole = await expected(committed, form)
    assert await made(committed, id_, settings) == whole
    assert (found.result["rows"], found.result["bytes"]) == (ROWS, len(whole))
    assert (found.done, found.total, found.message) == (ROWS, ROWS, "writing the file: rows")
    known = await Spool(committed).find(found.checkpoint["file"])
    assert (known.name, known.kind, known.asked_by, known.size) == (f"books.{form}", "export", "k", len(whole))
    assert known.expires_at.isoformat() == found.result["expires_at"].replace("Z", "+00:00")
    assert set(found.result) == {"rows", "bytes", "url", "expires_at"}
    assert known.chunks > 5


async def test_no_rows(committed: Database, settings: Settings) -> None:
    for form, whole in (("csv", b"id,title,published_year\n"), ("ndjson", b"")):
        id_ = await asked(committed, form=form)
        assert await outcomes(committed, settings) == ["done"]
        result: Any = (await row(committed, id_)).result
        assert (result["rows"], result["bytes"]) == (0, len(whole))
        assert await made(committed, id_, settings) == whole


async def test_pieces_are_about_a_chunk(committed: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    await filled(committed, 30_000)
    id_ = await asked(committed, ("sort", "id"))
    assert await outcomes(committed, settings) == ["done"]
    async with committed.reading() as session:
        *full, _ = await session.scalars(select(func.length(CHUNKS.c.bytes)).order_by(CHUNKS.c.number))
    assert full
    assert min(full) >= 64 * 1024
    assert len(full) < (await ended(committed, id_)).result["bytes"] / 250_000


class Held:
    """Holds runs back before a piece, so that they can be ended there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 0
        self.waits = asyncio.Event()
        append = Spool.append

        async def holding(spool: Spool, file: int, data: bytes) -> None:
            await append(spool, file, data)
            self.at -= 1
            if self.at == 0:
                self.waits.set()
                await asyncio.Event().wait()

        monkeypatch.setattr(Spool, "append", holding)

    def after(self, pieces: int) -> None:
        """Hold the next run back in the midst of this one of its chunks."""
        self.at = pieces
        self.waits.clear()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """What holds runs back; nothing until it is told so."""
    return Held(monkeypatch)


@pytest.mark.parametrize("form", FORMS)
async def test_a_run_goes_on_where_a_killed_one_had_come_to_with_the_same_bytes(
    form: Format, committed: Database, kept_in: Settings, held: Held
) -> None:
    """Broken off in the midst of a chunk, at its first and twice later; nobody can read what is there until it is whole."""
    settings = kept_in
    await filled(committed)
    id_ = await asked(committed, form=form)
    rows = [0]
    for pieces in (1, 4, 3):
        held.after(pieces)
        run = await begun(committed, settings)
        await held.waits.wait()
        run.cancel()
        await asyncio.wait([run])
        rows.append((await row(committed, id_)).done or 0)
        assert await living(committed) == bool(rows[-1])
        await overdue(committed)
    assert rows == sorted(rows)
    assert 0 < rows[-2] < rows[-1] < ROWS
    assert await outcomes(committed, settings) == ["done"]
    result: Any = (await row(committed, id_)).result
    assert await made(committed, id_, settings) == await expected(committed, form)
    assert (result["rows"], await living(committed)) == (ROWS, 1)


async def test_a_run_that_died_with_its_file_whole_gives_the_file(committed: Database, settings: Settings) -> None:
    await filled(committed)
    id_ = await asked(committed)
    await worked_off(committed, settings)
    async with committed.writing() as unit:
        await unit.session.execute(update(JobRow).values(state="running", finished_at=None, result=None))
    await overdue(committed)
    assert await outcomes(committed, settings) == ["done"]
    result: Any = (await row(committed, id_)).result
    assert (result["rows"], await count(committed, FILES)) == (ROWS, 1)
    assert await made(committed, id_, settings) == await expected(committed)


async def test_a_file_that_is_gone_meanwhile_is_made_anew(committed: Database, settings: Settings, held: Held) -> None:
    await filled(committed)
    id_ = await asked(committed)
    held.after(4)
    run = await begun(committed, settings)
    await held.waits.wait()
    run.cancel()
    await asyncio.wait([run])
    gone = (await ended(committed, id_)).checkpoint["file"]
    await Spool(committed).release(gone)
    await overdue(committed)
    assert await outcomes(committed, settings) == ["done"]
    found = await ended(committed, id_)
    assert found.checkpoint["file"] != gone
    assert await made(committed, id_, settings) == await expected(committed)


async def test_a_job_that_is_cancelled_drops_its_file(committed: Database, settings: Settings, held: Held) -> None:
    """The chunk under way finds out by itself; what was there is pruned."""
    await filled(committed)
    id_ = await asked(committed)
    held.after(4)
    run = await begun(committed, settings)
    await held.waits.wait()
    async with committed.writing() as unit:
        assert await transitions.cancel(unit.session, id_) == "running"
    run.cancel()
    await asyncio.wait([run])
    assert await count(committed, FILES) == 1
    assert await living(committed) == 0
    assert await Spool(committed).prune() == 1
    assert await count(committed, CHUNKS) == 0


async def test_a_chunk_that_finds_its_job_cancelled_drops_its_file(
    committed: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(committed)
    id_ = await asked(committed)
    kept = spooling._Writing._keep  # noqa: SLF001
    times = iter(range(9))

    async def keep(writing: Any, *given: Any) -> None:
        if next(times) == 3:
            async with committed.writing() as unit:
                await transitions.cancel(unit.session, id_)
        await kept(writing, *given)

    monkeypatch.setattr(spooling._Writing, "_keep", keep)  # noqa: SLF001
    assert await outcomes(committed, settings) == ["cancelled"]
    assert (await count(committed, FILES), await living(committed)) == (1, 0)


async def test_a_cancelled_job_that_is_begun_anew_makes_its_file_anew(committed: Database, settings: Settings, held: Held) -> None:
    await filled(committed)
    id_ = await asked(committed)
    held.after(4)
    run = await begun(committed, settings)
    await held.waits.wait()
    async with committed.writing() as unit:
        await transitions.cancel(unit.session, id_)
    run.cancel()
    await asyncio.wait([run])
    async with committed.writing() as unit:
        found = await ended(committed, id_)
        await transitions.cancelled(unit.session, (id_, found.claim))
        assert await transitions.retry(unit.session, id_)
    assert await outcomes(committed, settings) == ["done"]
    assert await made(committed, id_, settings) == await expected(committed)


async def dropped(database: Database, index: str) -> None:
    """Drop an index, and notice it."""
    async with database.writing() as unit:
        await unit.session.execute(text(f"DROP INDEX {index}"))
    await database.catalogue.refresh(database)


async def test_an_index_that_is_withdrawn_midway(database: Bound, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is tried again, fails with the sentence, and leaves nothing to read. With the index back, a retry makes the file."""
    await filled(database)
    whole = await expected(database)
    id_, kept, times = await asked(database), spooling._Writing._keep, iter(range(1000))  # noqa: SLF001

    async def keep(writing: Any, *given: Any) -> None:
        await kept(writing, *given)
        if next(times) == 4:
            await dropped(database, "ix_books_newest")

    monkeypatch.setattr(spooling._Writing, "_keep", keep)  # noqa: SLF001
    database.catalogue = Catalogue(schema.models())
    await database.catalogue.refresh(database)
    ends: list[str] = []
    while "failed" not in ends:
        ends += await outcomes(database, settings)
        assert 0 < ((await row(database, id_)).done or 0) < ROWS
        assert await living(database) == ("failed" not in ends)
        await overdue(database)
    assert ends == ["queued"] * export_question.attempts + ["failed"]  # the first of them had made progress
    found = await ended(database, id_)
    assert "ix_books_newest" in (found.error or "")
    assert found.result is None
    database.catalogue = Catalogue()
    async with database.writing() as unit:
        assert await transitions.retry(unit.session, id_)
    assert await outcomes(database, settings) == ["done"]
    assert await made(database, id_, settings) == whole


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a question that no index serves": ({"question": [["sort", "isbn13"], ["fields", "id"]]}, "No index of books serves"),
    "a member that isn't shown any more": ({"question": [["fields", "id,version"]]}, "version is no field"),
    "a table that isn't served any more": ({"table": "shelfmark_jobs"}, "No table shelfmark_jobs is served by this version."),
    "rows that a key can't be confined to": ({"within": {"source": "s"}}, "confined to rows in a way"),
    "a value of another type": ({"table": "loans", "within": {"member_id": "x"}}, "confined to rows in a way"),
    "rows of others": (
        {"table": "loans", "question": [["member_id", "8"], ["fields", "id"]], "within": {"member_id": 7}},
        "This key is confined to member_id=7.",
    ),
    "another function's arguments": ({"form": "xml"}, "can't be read by this version of export"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_a_worker_refuses_at_once(what: str, database: Bound, settings: Settings) -> None:
    """Whatever stands in the job's row: the worker decides anew."""
    changed, words = REFUSED[what]
    id_ = await asked(database)
    async with database.writing() as unit:
        args = (await row(database, id_)).args | {"question": [["fields", "id"]]} | changed
        await unit.session.execute(update(JobRow).where(JobRow.id == id_).values(args=args))
    assert await outcomes(database, settings) == ["failed"]
    assert words in ((await row(database, id_)).error or "")
    assert await living(database) == 0


async def test_a_search_that_finds_too_much(database: Bound, settings: Settings) -> None:
    await filled(database)
    id_ = await asked(database, ("title__icontains", "title"), ("fields", "id"))
    assert await outcomes(database, settings.model_copy(update={"search_most": 20})) == ["failed"]
    assert "20" in ((await row(database, id_)).error or "")
    assert await living(database) == 0
    id_ = await asked(database, ("title__icontains", "title"), ("fields", "id"))
    assert await outcomes(database, settings) == ["done"]
    found = await ended(database, id_)
    assert (found.result["rows"], found.total) == (ROWS, ROWS)


async def test_exports_at_once_get_what_is_left_together(committed: Database, settings: Settings) -> None:
    """A part more for each at the most, and not a file."""
    await filled(committed, 5 * ROWS)
    whole = len(await expected(committed))
    few = settings.model_copy(update={"export_bytes_a_day": whole + whole // 2})
    for _ in range(4):
        await asked(committed)
    async with committed.writing() as unit:
        claims = await transitions.hand_out(unit.session, 100, room=100)
    things = things_of(committed, few, {kind: section(kind, _env_file=None) for kind in schema.sections()})
    await asyncio.gather(*(perform(committed, schema.jobs(), claim, things) for claim in claims))
    async with committed.reading() as session:
        sizes = list(await session.scalars(select(FILES.c.size)))
    assert len(sizes) == 4
    assert whole < sum(sizes) < 2 * whole


async def test_a_worker_without_a_secret_leaves_it_to_others(database: Bound, settings: Settings) -> None:
    id_ = await asked(database)
    assert await outcomes(database, settings.model_copy(update={"secrets": ()})) == ["queued"]
    assert "SHELFMARK_SECRETS" in ((await row(database, id_)).error or "")
    await overdue(database)
    assert await outcomes(database, settings) == ["done"]


async def test_a_file_larger_than_what_is_left_of_a_day(database: Bound, settings: Settings) -> None:
    await filled(database)
    strict = settings.model_copy(update={"export_bytes_a_day": 1_024})
    ids = [await asked(database), await asked(database, ("id__in", "1"), ("fields", "id"))]
    assert await outcomes(database, strict) == ["failed", "done"]
    error = (await row(database, ids[0])).error or ""
    assert "This API key may export 1,024 bytes within 24 hours." in error
    assert "Ask for less, or have it exported by the command." in error
    assert await living(database) == 1


async def test_a_shared_directory_that_is_full(committed: Database, settings: Settings, tmp_path: Path) -> None:
    """The job is tried again and goes on where there is room, or fails with the sentence; others go on meanwhile."""
    if not may_mount():
        pytest.skip(MOUNT.reason)
    await filled(committed)
    with small_disk(tmp_path / "disk", 1) as disk:
        shared = settings.model_copy(update={"spool_directory": disk.path})
        disk.fill()
        ids = [await asked(committed), await asked(committed, form="ndjson")]
        assert await outcomes(committed, shared) == ["queued", "queued"]
        assert [(await row(committed, id_)).error for id_ in ids] == [FULL, FULL]
        while (await row(committed, ids[0])).state == "queued":
            await overdue(committed)
            await outcomes(committed, shared)
        found = await row(committed, ids[0])
        assert (found.state, found.error, found.result, await living(committed)) == ("failed", FULL, None, 0)
        disk.make_room()
        async with committed.writing() as unit:
            for id_ in ids:
                assert await transitions.retry(unit.session, id_)
        assert await outcomes(committed, shared) == ["done", "done"]
        for id_, form in zip(ids, FORMS, strict=True):
            assert await made(committed, id_, shared) == await expected(committed, form)
        await Spool.of(committed, shared).prune()
        assert len(list(disk.path.iterdir())) == 2


async def test_two_exports_at_once(committed: Database, settings: Settings) -> None:
    """Each has its own file, and the connections for reads are free between two pages."""
    await filled(committed)
    ids = [await asked(committed, form=form) for form in FORMS]
    async with committed.writing() as unit:
        claims = await transitions.hand_out(unit.session, 10, room=10)
    jobs, things = {export_question.name: export_question}, things_of(committed, settings, {})
    ended = await asyncio.gather(*(perform(committed, jobs, claim, things) for claim in claims))
    assert ended == [("export", "done")] * 2
    for id_, form in zip(ids, FORMS, strict=True):
        assert await made(committed, id_, settings) == await expected(committed, form)
    assert committed.reads.gate.free == committed.reads.gate.permits


async def test_old_files_are_pruned(committed: Database, settings: Settings) -> None:
    await filled(committed)
    id_ = await asked(committed)
    await worked_off(committed, settings)
    async with committed.writing() as unit:
        await unit.session.execute(update(FILES).values(expires_at=NOW - datetime.timedelta(seconds=1)))
    async with committed.writing():
        await enqueue(prune)
    assert await outcomes(committed, settings) == ["done"]
    assert (await count(committed, FILES), await count(committed, CHUNKS)) == (0, 0)
    with pytest.raises(FileGone):
        await made(committed, id_, settings)
