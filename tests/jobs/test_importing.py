"""A catalogue with every fault that real ones have, from its file to the table; and files that can't be used at all."""

import csv
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.db import table_of
from service.db.drops import drops
from service.errors import SetupError
from service.jobs.importing import Options, Progress, run_import
from service.tables.authors import Author
from service.tables.books import Book, imports
from tests.jobs.depot import counts, reasons

DIRTY = Path(__file__).with_name("dirty.csv")
REASONS = {
    3: "line 9 has the same key (2), and the last one wins",
    5: "isbn 1234567891: the check digit is wrong (the last digit should be X)",
    8: "isbn13 9780012345672: line 2 of this file has it too",
    10: "authors or author is blank or missing",
    11: "original_publication_year 2001.5: input should be a valid integer, unable to parse string as an integer",
    12: "published_year 99999999999: it must lie between -2,147,483,648 and 2,147,483,647",
    13: "ratings_count -3: input should be greater than or equal to 0",
    16: "11 fields are expected, 2 found",
}
READ, GOOD = 14, 6


async def books(importing_engine: AsyncEngine) -> dict[str, Any]:
    """The books by their key."""
    table, writers = table_of(Book), table_of(Author)
    async with importing_engine.connect() as connection:
        query = select(table, writers.c.name.label("author_name")).join(writers).order_by(table.c.id)
        return {row.source_key: row for row in await connection.execute(query)}


async def test_a_dirty_catalogue(importing_engine: AsyncEngine, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    for inserted, unchanged, dry_run in ((GOOD, 0, True), (GOOD, 0, False), (0, GOOD, True), (0, GOOD, False)):
        summary = await run_import(importing_engine, imports, DIRTY, Options(rejects=rejects, dry_run=dry_run))
        assert counts(summary) == (READ, inserted, 0, unchanged, READ - GOOD)
        assert dict(reasons(rejects)) == REASONS
        assert bool(await books(importing_engine)) != (dry_run and inserted > 0)


async def test_what_became_of_it(importing_engine: AsyncEngine) -> None:
    await run_import(importing_engine, imports, DIRTY)
    found = await books(importing_engine)
    assert {row.source for row in found.values()} == {"dirty"}
    first = found["1"]
    assert (first.isbn13, first.title, first.published_year) == ("9780012345672", "The Quiet House (House, #1)", 2008)
    assert (first.language, first.ratings_count, first.author_name) == ("eng", 4780653, "Ada Abbott")
    assert first.attributes == {
        "work_id": "77",
        "average_rating": "4.34",
        "original_title": "The Quiet House",
        "other_authors": ["Boris Baranov"],
    }
    assert (found["2"].isbn13, found["2"].published_year, found["2"].ratings_count) == ("9780804429573", -719, 5)
    assert (found["3"].title, found["3"].author_name, found["3"].isbn13) == ("静かな家", "Noor", None)
    assert (found["3"].attributes["other_authors"], found["3"].ratings_count) == (["Otto"], 0)
    assert (found["5"].title, found["5"].author_id) == ('Said "no", twice\nand more', first.author_id)
    assert found["9785555555557"].isbn13 == "9785555555557"  # without a key column its ISBN is the key
    (hashed,) = (row for key, row in found.items() if len(key) == 32)
    assert (hashed.title, hashed.isbn13) == ("No key, no ISBN", None)
    assert list(found) == ["1", "3", "5", "2", hashed.source_key, "9785555555557"]  # in the order of the file


async def test_one_catalogue_in_several_formats(
    importing_engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DIRTY.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["title"] is not None]
    lines = "".join(json.dumps({name: value or None for name, value in row.items()}) + "\n" for row in rows).encode()
    (tmp_path / "dirty.ndjson.gz").write_bytes(gzip.compress(lines))
    await run_import(importing_engine, imports, DIRTY)
    summary = await run_import(importing_engine, imports, tmp_path / "dirty.ndjson.gz")
    assert counts(summary) == (READ - 1, 0, 0, GOOD, READ - GOOD - 1)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + DIRTY.read_bytes().replace(b"\n", b"\r\n"))))
    summary = await run_import(importing_engine, imports, "-", Options(source="dirty", rejects=tmp_path / "r.csv"))
    assert summary.rejected == READ - GOOD
    assert summary.unchanged == GOOD - 1  # the title of two lines has got another line end
    assert dict(reasons(tmp_path / "r.csv")) == REASONS


async def test_rejects_show_the_record_as_it_stands(importing_engine: AsyncEngine, tmp_path: Path) -> None:
    path, rejects = tmp_path / "f.csv", tmp_path / "r.csv"
    path.write_bytes(b'title,author,isbn\n"two\nlines",Ada,123\nna\xefve,Ada,\ngood,Ada,\n')
    summary = await run_import(importing_engine, imports, path, Options(rejects=rejects))
    assert counts(summary) == (3, 1, 0, 0, 2)
    with rejects.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["line", "reason", "text"],
            ["2", "isbn 123: the check digit is wrong (the last digit should be 4)", '"two\nlines",Ada,123'],
            ["4", "byte 3 of the line (0xef) is not UTF-8; save the file as UTF-8", "na\\xefve,Ada,"],
        ]


async def test_rejects_run_no_formulas(importing_engine: AsyncEngine, tmp_path: Path) -> None:
    """Who opens the file in a spreadsheet hasn't written what is in it."""
    path, rejects = tmp_path / "f.csv", tmp_path / "r.csv"
    path.write_text("title,author\n=HYPERLINK(1)\n")
    await run_import(importing_engine, imports, path, Options(rejects=rejects))
    assert rejects.read_text().splitlines()[1] == '2,"2 fields are expected, 1 found",\'=HYPERLINK(1)'


@pytest.mark.parametrize("place", [2, 5000])
async def test_a_nul_rejects_its_row_wherever_it_stands(importing_engine: AsyncEngine, tmp_path: Path, place: int) -> None:
    path, rejects = tmp_path / "f.csv", tmp_path / "r.csv"
    rows = ["book_id,title,author", *(f"{number},Title {number},Ada" for number in range(2, 6000))]
    rows[place - 1] = "0,A\0B,Ada"
    path.write_text("\n".join(rows))
    summary = await run_import(importing_engine, imports, path, Options(rejects=rejects))
    assert counts(summary) == (5998, 5997, 0, 0, 1)
    assert reasons(rejects) == [(place, "it contains a NUL character, which the database can't keep")]


@pytest.mark.parametrize("wrong", ["no author", "one key"])
async def test_more_rejects_than_anybody_looks_at(importing_engine: AsyncEngine, tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "f.csv"
    path.write_text("book_id,title,author\n1,good,Ada\n" + ("2,x,\n" * 3 if wrong == "no author" else "2,x,Ada\n" * 4))
    with pytest.raises(SetupError, match="has more than 2 records that can't be imported, so nothing was"):
        await run_import(importing_engine, imports, path, Options(rejected_most=2))
    assert await books(importing_engine) == {}
    assert (await run_import(importing_engine, imports, path, Options(rejected_most=3))).rejected == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"1,The Quiet House,Ada\n2,Another,Ada\n", "no header that is known. Known are: book_id, title, original_title"),
        (b"isbn,authors\n1,Ada\n", "no column for title. Its header may be: title, original_title"),
        (b"title\nA\n", "no column for authors. Its header may be: authors, author"),
        ("title,author\nA,B\n".encode("utf-16"), "UTF-16"),
        (bytes(range(256)) * 40, "no text"),
        (gzip.compress(b"title,author\n" + b"A,B\n" * 10)[:-9], "damaged"),
    ],
    ids=["empty", "no header", "no title", "no author", "UTF-16", "binary", "cut off"],
)
async def test_files_that_cannot_be_used(importing_engine: AsyncEngine, tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=reason):
        await run_import(importing_engine, imports, path)
    assert await books(importing_engine) == {}


async def test_a_file_that_breaks_in_its_middle_changes_nothing(importing_engine: AsyncEngine, tmp_path: Path) -> None:
    rows = "".join(f"{number},Title {number * 7919 % 10007},Author {number * 31 % 97}\n" for number in range(80_000))
    whole = gzip.compress(f"book_id,title,author\n{rows}".encode())
    path = tmp_path / "f.csv.gz"
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(SetupError, match=r"breaks after line \d\d,\d+. Nothing was imported"):
        await run_import(importing_engine, imports, path)
    assert await books(importing_engine) == {}


async def test_rejects_that_cannot_be_written(importing_engine: AsyncEngine, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("title,author\nA,B\n")
    with pytest.raises(SetupError, match="is the file to import"):
        await run_import(importing_engine, imports, path, Options(rejects=path))
    with pytest.raises(SetupError, match="can't be written"):
        await run_import(importing_engine, imports, path, Options(rejects=tmp_path / "no folder" / "r.csv"))
    assert path.read_text() == "title,author\nA,B\n"
    assert await books(importing_engine) == {}


@pytest.mark.parametrize("source", ["", "  ", "x" * 201, "a\0b"])
async def test_sources_that_cannot_be_names(importing_engine: AsyncEngine, source: str) -> None:
    with pytest.raises(SetupError, match="name one with --source"):
        await run_import(importing_engine, imports, DIRTY, Options(source=source))


async def test_progress_goes_from_nothing_to_all(importing_engine: AsyncEngine) -> None:
    told: list[Progress] = []
    await run_import(importing_engine, imports, DIRTY, Options(chunk=4), told.append)
    assert [(one.stage, one.done, one.total) for one in told] == [
        ("reading", DIRTY.stat().st_size, DIRTY.stat().st_size),
        ("merging", 4, GOOD),
        ("merging", GOOD, GOOD),
    ]


async def test_a_database_of_another_isolation(own_database: str) -> None:
    engine = create_async_engine(own_database, poolclass=NullPool)
    async with engine.begin() as connection:
        name = await connection.scalar(text("SELECT current_database()"))
        await connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
    assert counts(await run_import(engine, imports, DIRTY)) == (READ, GOOD, 0, 0, READ - GOOD)
    await engine.dispose()


async def test_authors_of_json(importing_engine: AsyncEngine, tmp_path: Path) -> None:
    path, rejects = tmp_path / "f.ndjson", tmp_path / "r.csv"
    authors = [["Ada", " ", "Boris"], "Ada, Boris", 5, [], [1], {"a": 1}, [None]]
    path.write_text(
        "".join(json.dumps({"title": "T", "authors": one, "book_id": place}) + "\n" for place, one in enumerate(authors))
    )
    summary = await run_import(importing_engine, imports, path, Options(rejects=rejects))
    assert counts(summary) == (7, 3, 0, 0, 4)
    assert [line for line, _ in reasons(rejects)] == [3, 4, 6, 7]
    assert [row.attributes for row in (await books(importing_engine)).values()] == [{"other_authors": ["Boris"]}] * 2 + [{}]


async def test_what_caches_must_forget_is_noted(importing_engine: AsyncEngine) -> None:
    """Of each window that changed something, in its own transaction."""

    async def noted() -> list[str]:
        async with importing_engine.connect() as connection:
            return sorted((await connection.scalars(select(drops.c.of))).all())

    await run_import(importing_engine, imports, DIRTY, Options(dry_run=True))
    assert await noted() == []
    await run_import(importing_engine, imports, DIRTY)
    once = await noted()
    assert set(once) == {"authors", "books"}
    await run_import(importing_engine, imports, DIRTY)
    assert await noted() == once
