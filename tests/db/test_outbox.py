"""What is noted of a write is there exactly if the write is, whichever way it was made, and only if somebody wants it."""

from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import select, text

from service.db import Database
from service.db.bound import Bound
from service.db.outbox import Note, outbox
from service.errors import Conflict
from service.tables.books import Book, Books
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.statements import Queries

Row = tuple[str, str]


async def noted(database: Database) -> list[Row]:
    """What stands in the outbox."""
    async with database.reading() as session:
        return [(row.subject, row.what) for row in await session.execute(select(outbox).order_by(outbox.c.id))]


@pytest.fixture
def told(database: Bound) -> Bound:
    """A database whose writes somebody wants to know of."""
    database.outbox.register("a test")
    return database


async def test_nothing_is_noted_where_nobody_wants_it(database: Bound, client: AsyncClient) -> None:
    book = await BookFactory.create()
    await Books(database).change(book.id, title="New")
    assert (await client.patch(f"/v1/books/{book.id}", json={"title": "Newer"})).status_code == 204
    assert await noted(database) == []


async def test_every_way_of_a_repository(told: Bound, queries: Queries) -> None:
    author, books = await AuthorFactory.create(), Books(told)
    one = await books.create(title="One", author_id=author.id)
    await books.change(one.id, title="Uno")
    two, three = await books.batch([{"title": "Two", "author_id": author.id}, {"title": "Three", "author_id": author.id}])
    same = {"title": "Again", "author_id": author.id, "source": two.source, "source_key": two.source_key}
    await books.upsert([same], on=Book.unique_source)
    queries.clear()
    await books.delete(three.id)
    assert sum("INTO shelfmark_outbox" in sql for sql, _ in queries.sent) == 1
    assert await noted(told) == [
        (f"books/{one.id}", "created"),
        (f"books/{one.id}", "changed"),
        (f"books/{two.id}", "created"),
        (f"books/{three.id}", "created"),
        (f"books/{two.id}", "changed"),
        (f"books/{three.id}", "deleted"),
    ]


async def test_a_unit_of_work_has_one_statement_for_all_of_it(told: Bound, queries: Queries) -> None:
    author = await AuthorFactory.create()
    queries.clear()
    async with told.writing():
        books = [await Books(told).create(title=f"{number}", author_id=author.id) for number in range(3)]
        await Books(told).change(books[0].id, title="New")
        await Books(told).change(books[0].id, title="Newer")
    assert sum("INTO shelfmark_outbox" in sql for sql, _ in queries.sent) == 1
    assert [what for _, what in await noted(told)] == ["created", "created", "created", "changed"]


async def test_what_is_rolled_back_was_not_noted(told: Bound) -> None:
    book = await BookFactory.create()
    with pytest.raises(ZeroDivisionError):
        await _broken_off(told, book)
    with pytest.raises(Conflict):
        await Books(told).create(id=book.id, title="Twice", author_id=book.author_id)
    assert await noted(told) == []


async def test_every_way_of_a_route(told: Bound, client: AsyncClient) -> None:
    author = await AuthorFactory.create()
    made = (await client.post("/v1/books", json={"title": "One", "author_id": author.id})).json()["id"]
    await client.patch(f"/v1/books/{made}", json={"title": "Uno"})
    keyed = {"Idempotency-Key": "a"}
    for _ in range(2):
        answer: Any = await client.post("/v1/books", json={"title": "Two", "author_id": author.id}, headers=keyed)
    again = answer.json()["id"]
    await client.delete(f"/v1/books/{made}")
    assert (await client.delete(f"/v1/books/{made}")).status_code == 404
    assert await noted(told) == [
        (f"books/{made}", "created"),
        (f"books/{made}", "changed"),
        (f"books/{again}", "created"),
        (f"books/{made}", "deleted"),
    ]


async def test_a_row_says_when_and_has_no_number_yet(told: Bound) -> None:
    await told.outbox.write((await _unit(told)), [])
    async with told.writing() as unit:
        await told.outbox.write(unit.session, [Note("books", 7, "changed"), Note("books", 7, "changed")])
    async with told.reading() as session:
        (row,) = await session.execute(select(outbox))
        recent = await session.scalar(text("SELECT clock_timestamp() - noted_at < interval '1 minute' FROM shelfmark_outbox"))
    assert (row.subject, row.what, row.content, row.number, recent) == ("books/7", "changed", {}, None, True)


async def _broken_off(database: Bound, book: Book) -> None:
    async with database.writing():
        await Books(database).change(book.id, title="New")
        raise ZeroDivisionError


async def _unit(database: Bound) -> Any:
    async with database.reading() as session:
        return session
