"""Whether a book can be had, in two statements that ride indexes."""

import datetime

from httpx import AsyncClient

from service.db.bound import Bound
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.holds import HoldFactory
from tests.factories.loans import LoanFactory
from tests.fixtures.statements import Queries, ServedBy
from tests.http.conftest import refused


async def test_a_book_with_copies_everywhere(client: AsyncClient, database: Bound, queries: Queries, served_by: ServedBy) -> None:
    book = await BookFactory.create()
    for branch in ("North", "South", "North"):
        await CopyFactory.create(book=book, branch=branch)
    for number in (3, 2):
        copy = await CopyFactory.create(book=book, status="lent")
        await LoanFactory.create(copy=copy, due_on=datetime.date(2100, 1, number))
        await LoanFactory.create(copy=copy, due_on=datetime.date(2000, 1, 1), returned_at=datetime.datetime.now(datetime.UTC))
    await CopyFactory.create(book=book, status="set_aside")
    await CopyFactory.create(book=book, status="withdrawn")
    await HoldFactory.create_batch(2, book=book)
    await HoldFactory.create(book=book, status="cancelled")
    await LoanFactory.create(due_on=datetime.date(2099, 1, 1))
    queries.clear()
    async with served_by("pk_books", "ix_copies_of_book"):
        answer = await client.get(f"/v1/books/{book.id}/availability")
    assert answer.json() == {
        "book_id": book.id,
        "available": 3,
        "lent": 2,
        "set_aside": 1,
        "withdrawn": 1,
        "on_the_shelf": [{"branch": "North", "copies": 2}, {"branch": "South", "copies": 1}],
        "waiting": 2,
        "next_due_on": "2100-01-02",
    }


async def test_it_costs_two_statements(client: AsyncClient, database: Bound, queries: Queries) -> None:
    book = await BookFactory.create()
    queries.clear()
    answer = (await client.get(f"/v1/books/{book.id}/availability")).json()
    assert len(queries) == 2, str(queries)
    assert (answer["available"], answer["on_the_shelf"], answer["next_due_on"]) == (0, [], None)


async def test_a_book_that_is_none(client: AsyncClient) -> None:
    refused(await client.get("/v1/books/1/availability"), 404, "not-found")
    refused(await client.get("/v1/books/x/availability"), 422, "invalid-question")
