"""Whole exports: the same bytes wherever they are taken up again, through changes of rows, indexes and the database's temper."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text

from service import schema
from service.contract.question import Question, Sort, Sought
from service.db import Database
from service.db.bound import Bound
from service.db.catalogue import Catalogue
from service.errors import IndexNotReady, TooManyMatches
from service.http.asking import Asking
from service.http.exporting import export_of
from service.http.serve import Routes
from service.jobs import exporting
from service.jobs.exporting import PAGE_BYTES, PAGE_ROWS, Export, Exporting, Part, Reached
from service.jobs.lines import Style
from service.jobs.opening import Format
from service.settings import Settings
from service.tables.authors import router as authors
from service.tables.books import router as books
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory

SMALL = (1, 1, 2, 3)
FILLED = text("""
INSERT INTO books (author_id, title, published_year, attributes)
SELECT :author, 'Title ' || n % 5, CASE WHEN n % 3 > 0 THEN n % 4 - 2 END, jsonb_build_object('text', repeat('x', :width))
FROM generate_series(1, :count) n
""")
ORDERS = [("id",), ("-published_year",), ("published_year",), ("title__folded",)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of few rows."""
    monkeypatch.setattr(exporting, "PAGE_ROWS", SMALL)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is tried again at once."""
    monkeypatch.setattr(exporting, "WAITS", (0.0, 0.0))


def export_from(database: Database, question: Question, form: Format = "csv", router: Routes = books, **options: Any) -> Export:
    """An export of a table."""
    table = router.table
    return export_of(table, table.repository(database), table.of, Asking(question, 50, **options), Style(form))


def sorted_by(*names: str) -> Question:
    """Everything, in an order."""
    return Question(sort=tuple(Sort(name.removeprefix("-"), name.startswith("-")) for name in names))


async def filled(database: Database, count: int, width: int = 0) -> None:
    """Books with equal keys and NULLs."""
    author = await AuthorFactory.create()
    async with database.writing() as unit:
        await unit.session.execute(FILLED, {"author": author.id, "count": count, "width": width})


async def whole(export: Export, reached: Reached | None = None) -> list[Part]:
    """All parts of a file."""
    return [part async for part in Exporting(export, reached)]


def joined(parts: Sequence[Part]) -> bytes:
    """A file of its parts."""
    return b"".join(part.data for part in parts)


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("form", ["csv", "ndjson"])
@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_it_goes_on_with_the_same_bytes_from_wherever_it_was(
    order: tuple[str, ...], form: Format, python: bool, database: Bound, small: None
) -> None:
    await filled(database, 11)
    export = export_from(database, sorted_by(*order), form)
    if python:  # as for a shape that PostgreSQL can't write
        export = Export(**{name: getattr(export, name) for name in Export.__dataclass_fields__} | {"plain": False})
    parts = await whole(export)
    file = joined(parts)
    assert len(parts) > len(SMALL)
    assert (parts[-1].reached.rows, parts[-1].reached.bytes, parts[-1].reached.whole) == (11, len(file), True)
    for part in parts:
        kept = json.loads(json.dumps(part.reached.dumped(export)))
        reached = Reached.loaded(export, kept)
        assert reached == part.reached
        assert file[: reached.bytes] + joined(await whole(export, reached)) == file


async def test_postgresql_and_python_write_the_same(database: Bound) -> None:
    await filled(database, 5)
    for form in ("csv", "ndjson"):
        one = export_from(database, Question(), form)
        other = Export(**{name: getattr(one, name) for name in Export.__dataclass_fields__} | {"plain": False})
        spaced = joined(await whole(one)).replace(b'""text"": ', b'""text"":').replace(b'"text": ', b'"text":')
        assert spaced == joined(await whole(other))


async def test_rows_that_stay_are_met_once_while_others_come_and_go(database: Bound, small: None) -> None:
    staying = [await BookFactory.create(published_year=year) for year in (None, 1, 2, 2, 3, None, 5)]
    going = [await BookFactory.create(published_year=year) for year in (0, 2, 4)]
    met: list[int] = []
    async for part in Exporting(export_from(database, sorted_by("published_year"), "ndjson", fields=("id",))):
        met += [json.loads(line)["id"] for line in part.data.splitlines()]
        await BookFactory.create(published_year=2)
        if going:
            await books.table.repository(database).delete(going.pop().id)
    ids = [book.id for book in staying]
    assert sorted(one for one in met if one in ids) == sorted(ids)
    assert len(set(met)) == len(met)


@asynccontextmanager
async def watched(database: Bound) -> AsyncIterator[None]:
    """The database's catalogue, as a running service sees it."""
    database.catalogue = Catalogue(schema.models())
    await database.catalogue.refresh(database)
    yield
    database.catalogue = Catalogue()


async def dropped(database: Bound, index: str) -> None:
    """Drop an index, and notice it."""
    async with database.writing() as unit:
        await unit.session.execute(text(f"DROP INDEX {index}"))
    await database.catalogue.refresh(database)


async def test_it_goes_on_along_another_index_where_one_is_withdrawn(database: Bound, small: None) -> None:
    names = [f"Author {number}" for number in range(9)]
    for name in names:
        await AuthorFactory.create(name=name)
    async with watched(database):
        export = export_from(database, sorted_by("name__folded"), "csv", authors, fields=("name",))
        making = Exporting(export)
        first = [await anext(making) for _ in range(2)]
        await dropped(database, "ix_authors_by_name")
        assert joined([*first, *[part async for part in making]]).decode().split() == " ".join(["name", *names]).split()


async def test_it_breaks_off_where_no_index_is_left(database: Bound, small: None, impatient: None) -> None:
    await filled(database, 11)
    async with watched(database):
        making = Exporting(export_from(database, Question()))
        part = await anext(making)
        await dropped(database, "ix_books_newest")
        with pytest.raises(IndexNotReady):
            await anext(making)
    assert len(await whole(export_from(database, sorted_by("id")), None)) > 1
    assert not part.reached.whole


async def test_what_no_index_serves_now_isn_t_begun(database: Bound) -> None:
    async with watched(database):
        await dropped(database, "ix_books_newest")
        with pytest.raises(IndexNotReady):
            await anext(Exporting(export_from(database, Question())))


async def test_wide_rows_are_read_a_few_at_a_time(database: Bound) -> None:
    await filled(database, 20)
    await filled(database, 70, PAGE_BYTES // 4)
    sizes = [len(part.data) for part in await whole(export_from(database, sorted_by("id"), "ndjson"))]
    assert max(sizes) < (PAGE_ROWS[2] + 1) * PAGE_BYTES // 4
    assert len(sizes) > 20
    assert max(sizes[-20:]) < PAGE_BYTES


async def test_narrow_rows_are_read_many_at_a_time(database: Bound) -> None:
    await filled(database, PAGE_ROWS[-1] * 2)
    parts = await whole(export_from(database, sorted_by("id"), "ndjson"))
    assert [after.reached.rows - before.reached.rows for before, after in pairwise(parts)][1] == PAGE_ROWS[-1]


async def test_no_rows_are_one_part(database: Bound) -> None:
    assert [(part.data, part.reached) for part in await whole(export_from(database, Question(), "ndjson"))] == [
        (b"", Reached(whole=True))
    ]
    (part,) = await whole(export_from(database, Question(), fields=("id", "title")))
    assert part == Part(b"id,title\n", Reached(0, 9, whole=True))


async def test_a_search_is_whole_or_refused(database: Bound, small: None) -> None:
    await filled(database, 12)
    question = Question(searches=(Sought("title__folded", "icontains", "title"),))
    parts = await whole(export_from(database, question, fields=("id",)))
    assert (len(parts) > 1, parts[-1].reached.rows) == (True, 12)
    export = export_from(database, question)
    strict = Export(**{name: getattr(export, name) for name in Export.__dataclass_fields__} | {"search_most": 11})
    with pytest.raises(TooManyMatches):
        await whole(strict)


@pytest.mark.parametrize("limits", [{"lock_timeout_ms": 50}, {"read_timeout_ms": 50}], ids=str)
async def test_it_waits_for_a_database_that_is_slow_for_a_moment(
    limits: dict[str, int], committed: Database, database_url: str, settings: Settings, small: None
) -> None:
    await filled(committed, 11)
    strict = Database.connect(database_url, settings.model_copy(update=limits))
    try:
        making = Exporting(export_from(strict, sorted_by("id")))
        parts = [await anext(making)]
        async with committed.writing() as unit:
            await unit.session.execute(text("LOCK TABLE books IN ACCESS EXCLUSIVE MODE"))
            going_on = asyncio.create_task(_next(making))
            await asyncio.sleep(0.2)
            assert not going_on.done()
        parts += [await going_on, *[part async for part in making]]
    finally:
        await strict.close()
    assert joined(parts) == joined(await whole(export_from(committed, sorted_by("id"))))


async def _next(making: Exporting) -> Part:
    return await anext(making)


async def test_each_page_gives_its_connection_back(committed: Database, small: None) -> None:
    await filled(committed, 11)
    gate = committed.reads.gate
    async for _ in Exporting(export_from(committed, sorted_by("id"))):
        assert gate.free == gate.permits
