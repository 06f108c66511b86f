"""`shelfmark slow`: what took too long, for people and for programs."""

import json
from collections.abc import Callable

import pytest

from service.db import Database
from service.db.outline import Sent
from service.db.slow import SlowQuestions
from tests.fixtures.databases import settings_of
from tests.fixtures.processes import Ended

Slow = Callable[..., Ended]


@pytest.fixture
async def remembered(own_database: str) -> str:
    """A database that remembers two slow questions, one of them with its plan."""
    database = Database.connect(own_database, settings_of(own_database))
    async with database.lease() as driver:
        await driver.execute("SELECT 1")
    noted = SlowQuestions(0.1)
    for seconds in (0.3, 1.5):
        noted.note("books", "ix_books_by_author", "author_id=", seconds, Sent("SELECT * FROM books WHERE id = $1", [4711]))
    await noted.explain(database.reads)
    noted.note("loans", "pk_loans", "id=", 0.2, Sent("SELECT 1"))
    await noted.flush(database)
    await database.close()
    return own_database


@pytest.fixture
def slow(shelfmark: Slow) -> Slow:
    """The command, over a database."""

    def command(url: str, *words: str) -> Ended:
        return shelfmark("slow", *words, DATABASE_URL=url)

    return command


def test_for_people(slow: Slow, remembered: str) -> None:
    """What took the longest first."""
    ended = slow(remembered)
    assert ended.code == 0
    head, longest, path, plan, condition, _, other, *rest = ended.out.splitlines()
    assert head == "books  author_id="
    assert longest.startswith("   longest  1,500 ms; 2 times, 900 ms on average; last at 20")
    assert path == "   path     ix_books_by_author"
    assert plan.startswith("   plan     Index Scan using pk_books on books (rows=1 ")
    assert condition == "              Index Cond: (id = ?::bigint)"
    assert other == "loans  id="
    assert rest[0].startswith("   longest  200 ms; once; last at")
    assert rest[-1] == "   plan     nobody has asked for it yet"
    assert "4711" not in ended.out


def test_for_programs(slow: Slow, remembered: str) -> None:
    told = json.loads(slow(remembered, "--json").out)["slow"]
    assert [(one["table"], one["times"], one["longest_ms"]) for one in told] == [("books", 2, 1500), ("loans", 1, 200)]
    assert told[0]["plan"].startswith("Index Scan")


def test_of_one_table_and_so_many(slow: Slow, remembered: str) -> None:
    assert [one["table"] for one in json.loads(slow(remembered, "loans", "--json").out)["slow"]] == ["loans"]
    assert [one["table"] for one in json.loads(slow(remembered, "--most", "1", "--json").out)["slow"]] == ["books"]


def test_none(slow: Slow, own_database: str) -> None:
    ended = slow(own_database)
    assert (ended.code, ended.out.split()[:4]) == (0, ["No", "question", "was", "slow,"])


def test_a_database_that_was_never_migrated(slow: Slow, empty_database: str) -> None:
    ended = slow(empty_database)
    assert (ended.code, ended.out) == (2, "")
    assert "run `shelfmark migrate`" in ended.err
