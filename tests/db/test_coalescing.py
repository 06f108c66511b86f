"""Point reads go together while others are under way, and never share more than a statement."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from service.db import coalescing
from service.db.coalescing import FLIGHTS_MOST, TOGETHER_MOST, Coalescing
from service.errors import Overloaded, ValueRefused
from tests.waiting import until

Keys = Callable[[], Sequence[int]]


class Shelf:
    """Rows by key, given when the test lets them: what a database would say."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.rows = {key: f"row {key}" for key in range(1000)}
        self.connected, self.answering = asyncio.Event(), asyncio.Event()
        self.connected.set()
        self.answering.set()
        self.refuse: Callable[[Sequence[int]], None] = lambda _: None
        self.reads = Coalescing(self.ask)

    async def ask(self, keys: Keys) -> dict[int, str]:
        """As a statement does: the connection, the keys, the rows."""
        await self.connected.wait()
        asked = list(keys())
        self.sent.append(asked)
        found = {key: self.rows[key] for key in asked if key in self.rows}
        await self.answering.wait()
        self.refuse(asked)
        return found


@pytest.fixture
async def shelf() -> Shelf:
    """What is asked."""
    return Shelf()


async def test_one_key_is_asked_for_at_once(shelf: Shelf) -> None:
    assert await shelf.reads.get(7) == "row 7"
    assert await shelf.reads.get(-7) is None
    assert shelf.sent == [[7], [-7]]


async def test_what_comes_meanwhile_goes_together(shelf: Shelf) -> None:
    shelf.answering.clear()
    first = shelf.reads.get(1)
    await until(lambda: shelf.sent)
    others = [shelf.reads.get(key) for key in (2, 3, 2, -1)]
    shelf.answering.set()
    assert await asyncio.gather(first, *others) == ["row 1", "row 2", "row 3", "row 2", None]
    assert shelf.sent == [[1], [2, 3, -1]]
    assert (shelf.reads.asked, shelf.reads.sent) == (5, 2)


async def test_no_statement_has_more_than_so_many_keys(shelf: Shelf) -> None:
    answers = [shelf.reads.get(key) for key in range(TOGETHER_MOST + 10)]
    assert await asyncio.gather(*answers) == [f"row {key}" for key in range(TOGETHER_MOST + 10)]
    assert [len(keys) for keys in shelf.sent] == [TOGETHER_MOST, 10]


async def test_nobody_joins_a_statement_that_was_sent(shelf: Shelf) -> None:
    """Who asks after a write was acknowledged gets what was written."""
    shelf.answering.clear()
    before = shelf.reads.get(1)
    await until(lambda: shelf.sent)
    shelf.rows[1] = "written"
    after = shelf.reads.get(1)
    shelf.answering.set()
    assert list(await asyncio.gather(before, after)) == ["row 1", "written"]


async def test_while_a_connection_is_waited_for_others_join(shelf: Shelf) -> None:
    shelf.connected.clear()
    answers = [shelf.reads.get(1)]
    await asyncio.sleep(0)
    shelf.rows[1] = "written"
    answers.append(shelf.reads.get(1))
    shelf.connected.set()
    assert await asyncio.gather(*answers) == ["written", "written"]
    assert shelf.sent == [[1]]


async def test_who_leaves_takes_nobody_along(shelf: Shelf) -> None:
    shelf.answering.clear()
    leaving = asyncio.ensure_future(shelf.reads.get(1))
    waiting = asyncio.ensure_future(shelf.reads.get(2))
    await until(lambda: shelf.sent)
    late = asyncio.ensure_future(shelf.reads.get(3))
    gone = asyncio.ensure_future(shelf.reads.get(4))
    leaving.cancel()
    gone.cancel()
    shelf.answering.set()
    assert list(await asyncio.gather(waiting, late)) == ["row 2", "row 3"]
    assert shelf.sent == [[1, 2], [3]]


async def test_a_key_that_is_to_blame_fails_alone(shelf: Shelf) -> None:
    def refuse(keys: Sequence[int]) -> None:
        if 13 in keys:
            raise ValueRefused("not this one")

    shelf.refuse = refuse
    found = await asyncio.gather(*map(shelf.reads.get, (1, 13, 2)), return_exceptions=True)
    assert (found[0], found[2]) == ("row 1", "row 2")
    assert isinstance(found[1], ValueRefused)
    assert shelf.sent == [[1, 13, 2], [1], [13], [2]]


async def test_what_befell_the_database_befell_all(shelf: Shelf) -> None:
    def refuse(_: Sequence[int]) -> None:
        raise Overloaded("busy")

    shelf.refuse = refuse
    found = await asyncio.gather(*map(shelf.reads.get, (1, 2)), return_exceptions=True)
    assert [type(one) for one in found] == [Overloaded, Overloaded]
    assert shelf.sent == [[1, 2]]
    shelf.refuse = lambda _: None
    assert await shelf.reads.get(1) == "row 1"


async def test_without_a_connection_all_that_wait_are_told() -> None:
    async def refuse(_: Keys) -> dict[int, str]:
        await asyncio.sleep(0)
        raise Overloaded("busy")

    reads = Coalescing(refuse)
    found = await asyncio.gather(*map(reads.get, range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [Overloaded] * 3


async def test_a_statement_that_hangs_holds_nobody_up_for_long(shelf: Shelf) -> None:
    shelf.answering.clear()
    stuck = shelf.reads.get(1)
    await until(lambda: shelf.sent)
    late = [shelf.reads.get(2)]
    await until(lambda: len(shelf.sent) == 2)
    for key in range(3, 10):
        late.append(shelf.reads.get(key))
        await asyncio.sleep(0.03)
    assert len(shelf.sent) == FLIGHTS_MOST
    shelf.answering.set()
    assert await asyncio.gather(stuck, *late) == [f"row {key}" for key in range(1, 10)]


async def test_whoever_asks_right_after_waits_for_nothing(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that is over is none to wait for, also before the loop knows that its task has ended."""
    monkeypatch.setattr(coalescing, "STUCK_SECONDS", 60.0)
    async with asyncio.timeout(10):
        for key in range(3):
            assert await shelf.reads.get(key) == f"row {key}"
    assert shelf.sent == [[0], [1], [2]]
