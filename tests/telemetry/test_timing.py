"""Where one request's time went."""

import asyncio
import re

from service.telemetry.timing import TIMING, Timing, spent


async def test_parts_add_up_and_others_are_left_out() -> None:
    timing = Timing("wait", "db")
    TIMING.set(timing)
    spent("wait", 0.001)
    spent("wait", 0.002)
    spent("elsewhere", 1.0)
    assert re.fullmatch(rb"total;dur=\d+\.\d\d, wait;dur=3\.00, db;dur=0\.00", timing.header())


async def test_each_request_has_its_own() -> None:
    async def request(seconds: float) -> float:
        timing = Timing("db")
        TIMING.set(timing)
        await asyncio.sleep(0)
        spent("db", seconds)
        return timing.parts["db"]

    assert list(await asyncio.gather(request(1.0), request(2.0))) == [1.0, 2.0]


def test_who_does_not_ask_is_not_told() -> None:
    spent("db", 1.0)
    assert TIMING.get() is None
