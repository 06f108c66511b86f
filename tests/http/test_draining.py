"""A process that is about to end: what it says, what it still does, and how it knows that nothing is in flight."""

import asyncio
from time import monotonic

from fastapi import FastAPI
from httpx import AsyncClient

from service.http.draining import Draining, Traffic
from tests.waiting import LATE_SECONDS


async def test_it_says_no_and_goes_on(app: FastAPI, client: AsyncClient) -> None:
    assert "connection" not in (await client.get("/v1/books")).headers
    app.state.traffic.draining = True
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.headers["connection"]) == (503, "close")
    assert ready.json() == {"status": "unready", "problems": ["draining: the process is about to end"], "degraded": []}
    assert (await client.head("/readyz")).content == b""
    answer = await client.get("/v1/books")
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert (await client.get("/livez")).status_code == 200


async def test_what_is_in_flight_is_counted_to_its_end() -> None:
    traffic, ending = Traffic(), asyncio.Event()

    async def slow(*_: object) -> None:
        await ending.wait()
        raise ZeroDivisionError

    layer = Draining(slow, traffic)
    scope = {"type": "http", "path": "/", "method": "GET", "state": {"added": []}}
    requests = [asyncio.ensure_future(layer(dict(scope), None, None)) for _ in range(3)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert traffic.running == 3
    traffic.draining = True
    assert not await traffic.ended(0.05)
    ended = asyncio.ensure_future(traffic.ended(10 * LATE_SECONDS))
    await asyncio.sleep(0)
    began = monotonic()
    ending.set()
    assert await ended
    assert monotonic() - began < LATE_SECONDS
    assert traffic.running == 0
    assert [type(result) for result in await asyncio.gather(*requests, return_exceptions=True)] == [ZeroDivisionError] * 3
