"""The authors' own queries, beyond what every table has."""

from httpx import AsyncClient

from service.db.bound import Bound
from service.tables.authors import Authors
from tests.factories.authors import AuthorFactory


async def test_an_author_is_found_whatever_the_case(database: Bound) -> None:
    author = await AuthorFactory.create(name="Émile Zola")
    found = await Authors(database).named("ÉMILE ZOLA")
    assert found
    assert found.id == author.id


async def test_nobody_is_called_so(database: Bound) -> None:
    assert await Authors(database).named("nobody") is None


async def test_two_authors_of_one_name_are_refused(client: AsyncClient) -> None:
    await AuthorFactory.create(name="Émile Zola")
    answer = await client.post("/v1/authors", json={"name": "ÉMILE ZOLA"})
    assert (answer.status_code, answer.json()["fields"]) == (409, ["name"])


async def test_authors_come_by_name_whatever_the_case(client: AsyncClient) -> None:
    for name in ("b", "C", "a", "Ä"):
        await AuthorFactory.create(name=name)
    answer = await client.get("/v1/authors")
    assert [row["name"] for row in answer.json()["data"]] == ["a", "b", "C", "Ä"]
