"""What the cache counts, as /metrics tells it."""

import pytest
from httpx import AsyncClient

from tests.cache.asking import created, how, keep

pytestmark = pytest.mark.usefixtures("unhurried")


async def test_what_is_counted(client: AsyncClient) -> None:
    path = f"/v1/authors/{await created(client, '/v1/authors', name='Ursula')}"
    await keep(client, path)
    assert await how(client, path) == "hit"
    assert (await client.patch(path, json={"name": "New"})).status_code == 204

    async def numbers() -> dict[str, float]:
        lines = (await client.get("/metrics")).text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("shelfmark_cache")}

    found = await numbers()
    assert found['shelfmark_cache_reads_total{how="hit"}'] >= 2
    assert found['shelfmark_cache_reads_total{how="miss"}'] >= 1
    assert found['shelfmark_cache_fills_total{outcome="kept"}'] >= 1
    assert found["shelfmark_cache_filled_bytes_total"] > 0
    assert found["shelfmark_cache_alone"] == 0
    assert found["shelfmark_cache_dropped_total"] >= 1
