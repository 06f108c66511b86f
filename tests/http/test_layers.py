"""The layers around the routes."""

from httpx import AsyncClient

from tests.factories.books import BookFactory


async def test_head_is_get_without_a_body(client: AsyncClient) -> None:
    book = await BookFactory.create()
    got, head = await client.get(f"/v1/books/{book.id}"), await client.head(f"/v1/books/{book.id}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_head_of_what_is_refused(client: AsyncClient) -> None:
    head = await client.head("/v1/books?ratings_count=7")
    assert (head.status_code, head.content, head.headers["content-type"]) == (400, b"", "application/problem+json")


async def test_a_path_with_a_slash_too_many_is_refused_by_a_problem(client: AsyncClient) -> None:
    answer = await client.get("/v1/books/")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
