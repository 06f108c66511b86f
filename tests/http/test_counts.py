"""How many rows a question has, beside its page."""

from httpx import AsyncClient


async def test_a_count_is_capped_or_estimated_or_not_there(client: AsyncClient) -> None:
    author = (await client.post("/v1/authors", json={"name": "Ursula"})).raise_for_status().json()["id"]
    for number in range(3):
        (await client.post("/v1/books", json={"title": f"{number}", "author_id": author})).raise_for_status()
    path = f"/v1/books?author_id={author}&limit=2"
    assert "count" not in (await client.get(path)).json()
    assert (await client.get(f"{path}&count=capped")).json()["count"] == {"value": 3, "exact": True}
    estimated = (await client.get(f"{path}&count=estimated")).json()["count"]
    assert (type(estimated["value"]), estimated["exact"]) == (int, False)
