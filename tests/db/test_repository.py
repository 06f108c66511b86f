"""Queries and writes of a table, for Python: each list along an index, each write as the database keeps it."""

import datetime
import decimal
from typing import Any

import pytest
from sqlalchemy import select, text

from service.contract.question import Sort
from service.db import Database
from service.db.bound import Bound
from service.errors import Conflict, NotFound, TimedOut, ValueRefused
from service.tables.authors import Author, Authors
from service.tables.books import Book, Books
from tests.db.kinds import Kind, Kinds
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.statements import Queries, ServedBy


@pytest.fixture
def books(database: Bound) -> Books:
    return Books(database)


async def test_get(books: Books) -> None:
    book = await BookFactory.create()
    assert (await books.get(book.id)).title == book.title


async def test_get_of_nothing(books: Books) -> None:
    with pytest.raises(NotFound, match="no 0 in books"):
        await books.get(0)


async def test_many_come_in_the_order_of_their_keys(books: Books) -> None:
    made = [book.id for book in await BookFactory.create_batch(3)]
    assert [book.id for book in await books.many([made[2], 0, made[0]])] == [made[0], made[2]]


async def test_one_along_a_unique_index(database: Bound, served_by: ServedBy) -> None:
    author = await AuthorFactory.create(name="Émile")
    async with served_by("uq_authors_name"):
        found = await Authors(database).named("ÉMILE")
    assert found
    assert found.id == author.id
    assert await Authors(database).named("nobody") is None


async def test_a_page_along_an_index(books: Books, served_by: ServedBy) -> None:
    author = await AuthorFactory.create()
    made = [await BookFactory.create(author=author, published_year=year) for year in (1990, None, 2000)]
    async with served_by("ix_books_by_author"):
        page = await books.page(Book.by_author, author_id=author.id, limit=2)
    assert [book.id for book in page] == [made[2].id, made[0].id]
    rest = await books.page(Book.by_author, author_id=author.id, limit=2, after=page.last)
    assert ([book.id for book in rest], rest.last) == ([made[1].id], None)


async def test_a_page_backward(books: Books) -> None:
    made = [await BookFactory.create(published_year=year) for year in (1990, None, 2000)]
    page = await books.page(Book.newest, sort=(Sort("published_year"), Sort("id")))
    assert [book.id for book in page] == [made[1].id, made[0].id, made[2].id]


async def test_a_page_that_the_index_cant_give_is_refused(books: Books, queries: Queries) -> None:
    with pytest.raises(ValueError, match="ix_books_by_author doesn't serve"):
        await books.page(Book.by_author, language="eng")
    assert not queries.sent


async def test_rows_are_detached_with_all_columns(books: Books, queries: Queries) -> None:
    book = await books.get((await BookFactory.create()).id)
    queries.clear()
    assert book.version == 1
    assert abs(book.updated_at - book.created_at) < datetime.timedelta(seconds=1)  # the clock goes on between the two
    assert not queries.sent


async def test_create_returns_what_the_database_keeps(kinds: Kinds) -> None:
    row = await kinds.create(exact=decimal.Decimal("1.0005"))
    assert row.exact == decimal.Decimal("1.001")
    assert row.note == "none"


async def test_create_of_nothing_takes_every_default(kinds: Kinds) -> None:
    assert (await kinds.create()).note == "none"


async def test_change_returns_the_new_row(books: Books) -> None:
    book = await BookFactory.create()
    changed = await books.change(book.id, title="New")
    assert (changed.title, changed.version) == ("New", 2)


async def test_change_of_nothing_returns_the_row(books: Books) -> None:
    book = await BookFactory.create()
    assert (await books.change(book.id)).version == 1


@pytest.mark.parametrize("values", [{}, {"title": "x"}])
async def test_change_of_a_row_that_isnt_there(books: Books, values: dict[str, Any]) -> None:
    with pytest.raises(NotFound):
        await books.change(0, **values)


async def test_delete(books: Books) -> None:
    book = await BookFactory.create()
    await books.delete(book.id)
    with pytest.raises(NotFound):
        await books.delete(book.id)


async def test_a_batch_keeps_the_order_of_its_rows(kinds: Kinds) -> None:
    rows: list[dict[str, Any]] = [{"label": "a"}, {"small": 1}, {"label": "b", "note": "x"}, {}]
    made = await kinds.batch(rows)
    assert [(row.label, row.small, row.note) for row in made] == [
        ("a", None, "none"),
        (None, 1, "none"),
        ("b", None, "x"),
        (None, None, "none"),
    ]
    assert [row.id for row in made] == sorted(row.id for row in made)


async def test_a_batch_is_few_statements(kinds: Kinds, queries: Queries) -> None:
    queries.clear()
    await kinds.batch([{"label": str(number)} for number in range(500)])
    assert len(queries) == 1


async def test_a_refused_batch_names_its_first_row(database: Bound) -> None:
    with pytest.raises(Conflict) as refused:
        await Authors(database).batch([{"name": "a"}, {"name": "b"}, {"name": "A"}])
    assert refused.value.extra == {"fields": ["name"], "row": 2}
    assert await Authors(database).named("a") is None


async def test_a_batch_stopped_by_its_time_limit_looks_for_no_row(committed: Database) -> None:
    async def slow(unit: Any) -> None:
        await unit.session.execute(text("SET LOCAL statement_timeout = 1"))

    async with committed.writing() as unit:
        await slow(unit)
        with pytest.raises(TimedOut) as refused:
            await Authors(committed).batch([{"name": str(number)} for number in range(20_000)])
    assert "row" not in refused.value.extra


async def test_upsert_inserts_and_changes(database: Bound) -> None:
    author = await AuthorFactory.create()
    book = await BookFactory.create(source="a", source_key="1", title="Old", language="eng")
    row = {"source": "a", "author_id": author.id}
    rows = [{**row, "source_key": "1", "title": "New"}, {**row, "source_key": "2", "title": "Other"}]
    found = await Books(database).upsert(rows, on=Book.unique_source)
    assert {(one.source_key, one.title) for one in found} == {("1", "New"), ("2", "Other")}
    changed = await Books(database).get(book.id)
    assert (changed.title, changed.language, changed.version) == ("New", "eng", 2)


async def test_upsert_on_an_expression(database: Bound) -> None:
    author = await AuthorFactory.create(name="Emile")
    found = await Authors(database).upsert([{"name": "EMILE"}], on=Author.unique_name)
    assert [(one.id, one.name) for one in found] == [(author.id, "EMILE")]


async def test_upsert_on_a_partial_index(kinds: Kinds) -> None:
    row = await kinds.create(word="calm", label="a")
    found = await kinds.upsert([{"word": "calm", "label": "a", "small": 7}], on=Kind.unique_calm)
    assert [(one.id, one.small) for one in found] == [(row.id, 7)]


async def test_upsert_of_nothing(database: Bound, queries: Queries) -> None:
    assert await Authors(database).upsert([], on=Author.unique_name) == []
    assert not queries.sent


async def test_upsert_of_one_key_twice_is_refused(database: Bound) -> None:
    with pytest.raises(ValueRefused, match="twice"):
        await Authors(database).upsert([{"name": "a"}, {"name": "A"}], on=Author.unique_name)


async def test_rows_read_inside_a_unit_are_as_new_as_their_last_statement(database: Bound) -> None:
    author = await AuthorFactory.create(name="old")
    async with database.writing() as unit:
        before = await Authors(database).get(author.id)
        await unit.session.execute(text("UPDATE authors SET name = 'new'"))
        assert (await Authors(database).get(author.id)).name == "new"
        assert before.id == author.id
        assert await unit.session.scalar(select(Author.version)) == 2
