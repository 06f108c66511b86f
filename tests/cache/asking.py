"""What a client sees of the cache."""

from httpx import AsyncClient

from tests.waiting import until

KEPT = "hit"


async def how(client: AsyncClient, path: str) -> str:
    """How an answer was come by."""
    found = await client.get(path)
    assert found.status_code in {200, 404}
    return str(found.headers.get("x-cache", ""))


async def keep(client: AsyncClient, *paths: str) -> None:
    """Ask until all of them are kept."""

    async def kept() -> bool:
        return [await how(client, path) for path in paths] == [KEPT for _ in paths]

    await until(kept)


async def still_kept(client: AsyncClient, *paths: str) -> list[str]:
    """Those of them that are kept, asked only once."""
    return [path for path in paths if await how(client, path) == KEPT]


async def created(client: AsyncClient, path: str, **values: object) -> int:
    """A new row's key."""
    return int((await client.post(path, json=values)).raise_for_status().json()["id"])
