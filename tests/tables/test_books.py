"""The books' own queries and routes, beyond what every table has."""

from httpx import AsyncClient

from service.db.bound import Bound
from service.tables.books import Books
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.statements import Queries, ServedBy


async def test_beside_are_the_same_authors_other_titles_newest_first(client: AsyncClient, served_by: ServedBy) -> None:
    author = await AuthorFactory.create()
    old, book, new = [await BookFactory.create(author=author, published_year=year) for year in (1950, None, 2001)]
    await BookFactory.create()
    async with served_by("pk_books", "ix_books_by_author"):
        answer = await client.get(f"/v1/books/{book.id}/beside")
    assert [row["id"] for row in answer.json()] == [new.id, old.id]


async def test_beside_a_book_that_is_none(client: AsyncClient) -> None:
    answer = await client.get("/v1/books/1/beside")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


async def test_a_book_is_found_by_its_isbn_in_one_statement(client: AsyncClient, queries: Queries) -> None:
    book = await BookFactory.create(isbn13="9780306406157")
    queries.clear()
    answer = await client.get("/v1/books?isbn13=9780306406157")
    assert [row["id"] for row in answer.json()["data"]] == [book.id]
    assert len(queries) == 1, str(queries)


async def test_the_repository_finds_a_title_whatever_its_case(database: Bound) -> None:
    book = await BookFactory.create(title="Élan vital")
    found = await Books(database).page(type(book).by_title, title__folded="ÉLAN VITAL")
    assert [row.id for row in found] == [book.id]
