"""What caches are told of a write, and the note that it leaves, on servers that remember old rows and on those that don't."""

from typing import Any

import pytest
from sqlalchemy import select

from service.db import Database, drops, surface
from service.db.bound import Bound
from service.db.drops import FORGOTTEN, NOTE, Change, number, told
from service.db.writing import KEY, Drops, Writing
from service.tables.books import Book
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory

NAMES = ("author_id", "language")


@pytest.fixture(params=["remembers", "forgets"])
def writing(request: pytest.FixtureRequest, database: Bound, monkeypatch: pytest.MonkeyPatch) -> Writing:
    """Writes of books, on PostgreSQL as it is, and as it was before RETURNING could tell of old rows."""
    if request.param == "forgets":
        monkeypatch.setattr(drops, "takes_old", lambda _: False)
    return Writing(surface(Book), ("id", "title"), database.writes.engine.dialect)


async def noted(database: Database) -> list[tuple[int, str]]:
    """The notes."""
    async with database.reading() as session:
        return [(row.id, row.of) for row in await session.execute(select(drops.drops))]


async def sent(database: Database, statement: Any, **values: Any) -> list[list[Any]]:
    """What a statement gives."""
    return [statement.result(row) for row in await database.write(statement.sql, statement.arguments(values))]


async def test_a_change(writing: Writing, database: Bound) -> None:
    one, other = await AuthorFactory.create(), await AuthorFactory.create()
    book = await BookFactory.create(author=one, language="en")
    statement, note = writing.change(("author_id",), note=False, drops=NAMES), number()
    (record,) = await sent(database, statement, author_id=other.id, **{KEY: book.id, NOTE: note})
    old, new = {"author_id": one.id, "language": "en"}, {"author_id": other.id, "language": "en"}
    assert told("books", "changed", record, NAMES) == Change("books", book.id, old, new)
    assert await noted(database) == [(note, "books")]


async def test_a_new_row_and_one_that_goes(writing: Writing, database: Bound) -> None:
    author = await AuthorFactory.create()
    statement = writing.create(("title", "author_id"), note=True, drops=NAMES)
    (made,) = await sent(database, statement, title="T", author_id=author.id, **{NOTE: number()})
    values = {"author_id": author.id, "language": None}
    assert told("books", "created", made, NAMES) == Change("books", made[0], None, values)
    (gone,) = await sent(database, writing.delete(note=False, drops=NAMES), **{KEY: made[0], NOTE: number()})
    assert told("books", "deleted", gone, NAMES) == Change("books", made[0], values, None)
    assert [of for _, of in await noted(database)] == ["books", "books"]


async def test_what_writes_nothing_leaves_no_note(writing: Writing, database: Bound) -> None:
    for statement in (writing.change(("title",), note=False, drops=NAMES), writing.delete(note=False, drops=NAMES)):
        assert await sent(database, statement, title="T", **{KEY: 10**9, NOTE: number()}) == []
    assert await noted(database) == []


@pytest.mark.parametrize("names", [None, ()])
async def test_no_columns(writing: Writing, database: Bound, names: Drops) -> None:
    book = await BookFactory.create()
    statement = writing.change(("title",), note=False, drops=names)
    (record,) = await sent(database, statement, title="T", **{KEY: book.id, NOTE: number()})
    assert len(record) == 3
    assert len(await noted(database)) == (0 if names is None else 1)


async def test_what_nobody_looks_at_is_forgotten_after_a_day(database: Bound) -> None:
    async with database.writing() as unit:
        await drops.note(unit.session, {"books": 1})
        await unit.session.execute(FORGOTTEN)
    assert await noted(database) == [(1, "books")]
