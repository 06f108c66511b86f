"""`shelfmark sample`: all of it or nothing, into an empty database only."""

import asyncio
import datetime
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import create_async_engine

from service import schema, tables
from service.cli.sampling import UNTIL, fill, sampled
from service.errors import SetupError
from tests.fixtures.databases import new_database, template
from tests.fixtures.keys import let_in
from tests.fixtures.processes import REPOSITORY, SHELFMARK, run, running
from tests.fixtures.servers import Servers

BOOKS = 40
THIS_TREE = {"PYTHONPATH": str(REPOSITORY)}
DEFINITIONS = """
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    ORDER BY 1"""


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    """A migrated database without rows."""
    async with new_database(servers, await template(servers)) as made:
        yield made


def asked(url: str, *queries: str) -> list[Any]:
    """What each query finds: the first column."""

    async def ask() -> list[Any]:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            found = [list(await connection.scalars(text(query))) for query in queries]
        await engine.dispose()
        return found

    return asyncio.run(ask())


def counts(url: str) -> dict[str, int]:
    """The rows of each table."""
    names = sorted(model.__tablename__ for model in schema.models())
    return {
        name: rows[0] for name, rows in zip(names, asked(url, *(f"SELECT count(*) FROM {name}" for name in names)), strict=True)
    }


def content(url: str) -> list[Any]:
    """A sum of all that stands in each table, but for the times at which the rows were written."""
    row = "(to_jsonb(t) - 'created_at' - 'updated_at')::text"
    return asked(url, *(f"SELECT md5(string_agg({row}, ' ' ORDER BY id)) FROM {name} AS t" for name in schema.samples()))


def said(url: str, rows: int) -> str:
    """What `up` prints when it fills."""
    told = io.StringIO()
    fill(url, rows, Console(file=told, width=1000))
    return told.getvalue()


def test_what_it_says_is_there(url: str) -> None:
    """The tables hold what is said, with their indexes and foreign keys as before, and numbers go on after the last."""
    before = asked(url, DEFINITIONS)
    made = sampled(url, BOOKS, UNTIL)
    assert counts(url) == made
    assert made["books"] == BOOKS
    assert all(made.values())
    assert asked(url, DEFINITIONS) == before
    assert set(asked(url, 'SELECT "of" FROM shelfmark_drops')[0]) == set(made)  # what services keep is forgotten
    assert asked(url, "INSERT INTO authors (name) VALUES ('Nobody') RETURNING id") == [[made["authors"] + 1]]


async def test_the_same_each_time(servers: Servers) -> None:
    """Two databases get the same rows; another day gives others."""
    name = await template(servers)
    async with new_database(servers, name) as one, new_database(servers, name) as two, new_database(servers, name) as later:
        for url, until in ((one, UNTIL), (two, UNTIL), (later, UNTIL + datetime.timedelta(1))):
            await asyncio.to_thread(sampled, url, BOOKS, until)
        sums = [await asyncio.to_thread(content, url) for url in (one, two, later)]
    assert sums[0] == sums[1] != sums[2]


@pytest.mark.parametrize("books", [1, 2, 7])
def test_the_smallest(url: str, books: int) -> None:
    """Any size can be had."""
    assert sampled(url, books, UNTIL)["books"] == books


@pytest.mark.parametrize(
    "statement", ["INSERT INTO events (kind, subject) VALUES ('a', 'b')", "INSERT INTO authors (name) VALUES ('a')"]
)
def test_a_used_database(url: str, statement: str) -> None:
    """One row anywhere is a refusal, which names the table; `up` leaves it alone without a word."""
    asked(url, statement + " RETURNING id")
    before = counts(url)
    table = statement.split()[2]
    with pytest.raises(SetupError, match=f"^The table {table} holds rows, and a sample goes into an empty database only"):
        sampled(url, BOOKS, UNTIL)
    assert said(url, BOOKS) == ""
    assert counts(url) == before


def test_a_key_is_no_row_of_the_library(url: str) -> None:
    """It was made before the sample, and stays."""
    asyncio.run(let_in(url))
    assert f" {BOOKS} books, " in said(url, BOOKS)
    assert asked(url, "SELECT name FROM shelfmark_keys") == [["tests"]]


def test_up_fills_an_empty_database_once(url: str) -> None:
    assert said(url, 0) == ""
    assert said(url, BOOKS).startswith(f"The empty database was filled with invented rows: 6 authors, {BOOKS} books, ")
    made = counts(url)
    assert said(url, BOOKS) == ""
    assert counts(url) == made
    [[latest]] = asked(url, "SELECT max(borrowed_at) FROM loans")
    assert datetime.timedelta(0) < datetime.datetime.now(datetime.UTC) - latest < datetime.timedelta(40)


def test_a_database_without_tables(empty_database: str) -> None:
    with pytest.raises(SetupError, match=r"^The database has no table \w+\. Run `shelfmark migrate` first\.$"):
        sampled(empty_database, BOOKS, UNTIL)


@pytest.fixture
def planned() -> Iterator[None]:
    """A table that stands in a file and in no migration."""
    table = Table("planned", schema.metadata())
    yield
    schema.metadata().remove(table)


@pytest.mark.usefixtures("planned")
def test_a_table_that_is_not_migrated_yet(url: str) -> None:
    """Who has just written it gets the sample all the same."""
    assert f" {BOOKS} books, " in said(url, BOOKS)


def test_without_the_library(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tables of another trade need no sample: the command says so, and `up` goes on."""
    monkeypatch.setattr(tables, "__path__", [str(tmp_path)])
    with pytest.raises(SetupError, match="No table declares a sample"):
        sampled(url, BOOKS, UNTIL)
    assert said(url, BOOKS) == ""


def test_killed(url: str, scratch: Path) -> None:
    """A kill -9 between the books and the indexes leaves nothing; the next run isn't hindered."""
    before = asked(url, DEFINITIONS)
    with running(scratch, SHELFMARK, "sample", "--books", "100000", DATABASE_URL=url, **THIS_TREE) as command:
        command.until_said("copies: 300,000 rows")
        command.end(Signals.SIGKILL)
        assert "events" not in command.said()
    made = sampled(url, BOOKS, UNTIL)
    assert made["books"] == BOOKS
    assert counts(url) == made
    assert asked(url, DEFINITIONS) == before
    assert set(asked(url, 'SELECT "of" FROM shelfmark_drops')[0]) == set(made)  # what services keep is forgotten


def test_as_a_command(url: str, scratch: Path) -> None:
    """A line for each table and a sum on stderr; a sentence and exit code 2 the second time."""
    ended = run(scratch, SHELFMARK, "sample", "--books", "50", "--until", "2024-02-29", DATABASE_URL=url, **THIS_TREE)
    assert (ended.code, ended.out) == (0, "")
    assert "books: 50 rows, " in ended.err
    assert "The database holds 8 authors, 50 books, 150 copies, " in ended.err
    [[latest]] = asked(url, "SELECT max(occurred_at) FROM events")
    assert f"{latest:%Y-%m}" == "2024-02"
    again = run(scratch, SHELFMARK, "sample", DATABASE_URL=url, **THIS_TREE)
    assert again.code == 2
    assert again.err.startswith("The table authors holds rows")
