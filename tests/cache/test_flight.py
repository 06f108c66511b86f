"""One reads, the others wait, if they could have begun it."""

import asyncio
from collections.abc import Callable

import pytest

from service.cache.entries import Held
from service.cache.flight import Flights


class Reading:
    """A reading that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go, self.end = asyncio.Event(), asyncio.Event()

    async def fly(self, land: Callable[[Held], None]) -> None:
        """Read, answer, and keep."""
        self.begun += 1
        number = self.begun
        await self.go.wait()
        land(Held(b"%d" % number))
        await self.end.wait()


async def test_others_wait_under_the_same_marks() -> None:
    flights, reading = Flights(), Reading()
    first, joined = flights.join(("k", b"1"), reading.fly)
    others = [flights.join(("k", b"1"), reading.fly) for _ in range(10)]
    newer, apart = flights.join(("k", b"2"), reading.fly)
    assert (joined, apart) == (False, False)
    assert all(one for _, one in others)
    reading.go.set()
    found = {(await one).body for one, _ in others}
    assert found == {(await first).body} == {b"1"}
    assert (await newer).body == b"2"
    late, joined = flights.join(("k", b"1"), reading.fly)
    assert (joined, (await late).body) == (True, b"1")
    reading.end.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not flights.join(("k", b"1"), reading.fly)[1]


async def test_who_leaves_takes_nobody_along() -> None:
    flights, reading = Flights(), Reading()
    first, _ = flights.join("k", reading.fly)
    second, _ = flights.join("k", reading.fly)
    first.cancel()
    reading.go.set()
    reading.end.set()
    assert (await second).body == b"1"


async def test_a_failure_is_everybodys() -> None:
    async def broken(_: Callable[[Held], None]) -> None:
        await asyncio.sleep(0)
        raise LookupError

    flights = Flights()
    waiting = [flights.join("k", broken)[0] for _ in range(3)]
    for one in waiting:
        with pytest.raises(LookupError):
            await one
