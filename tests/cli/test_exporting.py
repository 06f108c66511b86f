"""`shelfmark export`, from the command to the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from service.db import Database
from service.jobs.exporting import PAGE_ROWS
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.processes import SHELFMARK, Ended, run

Shelfmark = Callable[..., Ended]


@pytest.fixture
async def catalogue(committed: Database) -> None:
    """Some authors, committed."""
    for name in ("Émile Zola", "Jane Austen", "=Formula"):
        await AuthorFactory.create(name=name)


@pytest.mark.usefixtures("catalogue")
def test_a_question_goes_to_standard_output(tmp_path: Path, database_url: str) -> None:
    """The rows alone; what there is to say goes to standard error."""
    done = run(tmp_path, SHELFMARK, "export", "authors", "fields=name&sort=name__folded", DATABASE_URL=database_url)
    assert (done.code, done.out) == (0, "name\n'=Formula\nJane Austen\nÉmile Zola\n"), done.err
    assert "3 rows, 39 bytes" in done.err
    kept = run(tmp_path, SHELFMARK, "export", "authors", "?fields=name", "--formulas", "keep", DATABASE_URL=database_url)
    assert "\n=Formula\n" in kept.out


@pytest.mark.usefixtures("catalogue")
def test_a_file_says_its_format(tmp_path: Path, database_url: str) -> None:
    file = tmp_path / "authors.ndjson"
    done = run(tmp_path, SHELFMARK, "export", "authors", "name__istartswith=é", "-o", str(file), DATABASE_URL=database_url)
    assert (done.code, done.out) == (0, ""), done.err
    assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == ["Émile Zola"]
    assert [path.name for path in tmp_path.iterdir()] == ["authors.ndjson"]


async def test_more_than_is_streamed(committed: Database, tmp_path: Path, database_url: str) -> None:
    """A command has no bound; a reader that has enough ends it without a word."""
    author = await AuthorFactory.create()
    count = 2 * PAGE_ROWS[-1] + 1
    for number in range(count):
        await BookFactory.create(author=author, title=f"Title {number}")
    command = f"{SHELFMARK} export books --format ndjson"
    settings = {"DATABASE_URL": database_url, "SHELFMARK_STREAM_MOST": "1"}
    done = run(tmp_path, "sh", "-c", f"{command} | wc -l", **settings)
    assert done.out.strip() == str(count), done.err
    cut = run(tmp_path, "sh", "-c", f"({command}; echo $? >&2) | head -c 10", **settings)
    assert (len(cut.out), cut.err.strip()) == (10, "1")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nothing",), "No table nothing is served. There are authors, books"),
        (("books", "sort=isbn13"), "No index of books serves sort=isbn13"),
        (("books", "title=x&limit=5"), "limit: a file has all rows"),
        (("books", "version=1"), "version: unknown parameter"),
        (("books", "--format", "xml"), "--format xml isn't known. There are csv and ndjson."),
        (("books", "--formulas", "drop"), "formulas: expected quote or keep"),
    ],
)
def test_what_cannot_be_exported(words: tuple[str, ...], sentence: str, shelfmark: Shelfmark, database_url: str) -> None:
    done = shelfmark("export", *words, DATABASE_URL=database_url)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_nothing_is_left_of_a_file_that_isn_t_whole(shelfmark: Shelfmark, tmp_path: Path, database_url: str) -> None:
    before = tmp_path / "books.csv"
    before.write_text("as it was")
    assert shelfmark("export", "books", "sort=isbn13", "-o", str(before), DATABASE_URL=database_url).code == 2
    assert before.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [before]


def test_a_place_that_cannot_be_written(tmp_path: Path, shelfmark: Shelfmark, database_url: str) -> None:
    done = shelfmark("export", "books", "-o", str(tmp_path / "absent" / "books.csv"), DATABASE_URL=database_url)
    assert (done.code, "can't be written: No such file or directory" in done.err) == (1, True)
    full = run(tmp_path, "sh", "-c", f"{SHELFMARK} export books > /dev/full", DATABASE_URL=database_url)
    assert (full.code, "can't be written: No space left on device" in full.err) == (1, True)


def test_a_database_that_is_away(shelfmark: Shelfmark) -> None:
    done = shelfmark("export", "books", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("PostgreSQL at 127.0.0.1:1 can't be reached: ")
    assert done.err.rstrip().endswith("Start it, or correct DATABASE_URL.")
