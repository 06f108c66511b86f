"""A request's deadline: known to whatever it calls, and to nobody else."""

import asyncio
from time import monotonic

import pytest

from service.db.deadline import DEADLINE, Deadline, left, stand_down, stand_firm, until


def test_without_a_deadline() -> None:
    stand_firm()
    stand_down()
    assert until() is None
    assert left(7.0) == 7.0


@pytest.mark.parametrize(("ahead", "most", "found"), [(5.0, 7.0, 5.0), (5.0, 3.0, 3.0), (-5.0, 7.0, 0.0)])
async def test_what_is_left(ahead: float, most: float, found: float) -> None:
    async def request() -> float:
        DEADLINE.set(Deadline(monotonic() + ahead))
        return left(most)

    assert await asyncio.create_task(request()) == pytest.approx(found, abs=0.5)
    assert until() is None


async def test_standing_firm() -> None:
    async def request() -> list[bool]:
        deadline, found = Deadline(1.0), list[bool]()
        DEADLINE.set(deadline)
        for act in (stand_firm, stand_down, stand_firm):
            act()
            found.append(deadline.firm)
        return found

    assert await asyncio.create_task(request()) == [True, False, True]
