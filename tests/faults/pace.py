"""How quickly a service answers: many requests, a few at a time, in the process of the test."""

import asyncio
import statistics
import time

from httpx import AsyncClient

REQUESTS, AT_ONCE = 1000, 4


async def times(client: AsyncClient, path: str) -> list[float]:
    """Seconds that each of many requests took; each must be answered."""
    took: list[float] = []

    async def some() -> None:
        for _ in range(REQUESTS // AT_ONCE):
            began = time.perf_counter()
            assert (await client.get(path)).status_code == 200
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return took


def p99(took: list[float]) -> float:
    """The time that one in a hundred exceeds."""
    return statistics.quantiles(took, n=100)[98]
