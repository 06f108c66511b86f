"""A route of one's own is handed a repository."""

from httpx import AsyncClient

from tests.factories.books import BookFactory


async def test_a_route_of_ones_own_is_served(client: AsyncClient) -> None:
    book = await BookFactory.create()
    other = await BookFactory.create(author=book.author)
    assert [row["id"] for row in (await client.get(f"/v1/books/{book.id}/beside")).json()] == [other.id]
    assert (await client.get("/v1/books/0/beside")).json()["type"] == "/problems/not-found"
