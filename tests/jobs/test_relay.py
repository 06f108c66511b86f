"""The relay: each consumer is told of everything, in order, whoever dies; what goes wrong with one holds nobody up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.background import beside
from service.db import Database, feed
from service.db.feed import Noted
from service.db.outbox import outbox
from service.jobs import relay as relay_module
from service.jobs.relay import CONNECTING, Relay
from tests.db.storms import watching
from tests.waiting import until

RELAYS = text("SELECT pid FROM pg_stat_activity WHERE application_name = 'shelfmark relay' AND datname = current_database()")
KILL = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name = 'shelfmark relay' AND datname = current_database()"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong comes again sooner."""
    monkeypatch.setattr(relay_module, "AGAIN_SECONDS", 0.02)


class Listener:
    """A consumer that keeps what it is told.

    Attributes:
        fails: how often it fails first.
    """

    def __init__(self, name: str, fails: int = 0) -> None:
        self.name, self.fails = name, fails
        self.heard: list[tuple[int, str]] = []

    async def told(self, notes: Sequence[Noted]) -> None:
        """Keep them."""
        if self.fails:
            self.fails -= 1
            raise ZeroDivisionError
        self.heard += [(note.number, note.subject) for note in notes]

    @property
    def subjects(self) -> list[str]:
        """What it has heard of."""
        return [subject for _, subject in self.heard]


class Chore:
    """A chore that counts; it may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.done = error, 0

    async def step(self, connection: AsyncConnection) -> bool:
        """Count."""
        self.done += 1
        async with connection.begin():
            await connection.execute(text("SELECT 1"))
            if self.error:
                raise self.error
        return False


@asynccontextmanager
async def running(*relays: Relay) -> AsyncIterator[None]:
    """Relays, for as long as the block lasts."""
    async with AsyncExitStack() as until_then:
        for relay in relays:
            until_then.push_async_callback(relay.aclose)
            await until_then.enter_async_context(beside(relay.run(), "relay"))
        yield


def handed_on(made: Relay) -> dict[str, float]:
    """How many notes each consumer was told of, and its position moved behind them."""
    return {labels[0]: numbers[0] for name, labels, numbers in made.told() if name == relay_module.HANDED_ON.name}


async def note(database: Database, *subjects: str) -> None:
    """Commit notes, and nudge."""
    async with database.writing() as unit:
        await unit.session.execute(insert(outbox), [{"subject": subject, "what": "changed"} for subject in subjects])
    await database.write("SELECT pg_notify('shelfmark', '')", ())


async def test_consumers_are_told_in_order_and_once(committed: Database, database_url: str) -> None:
    one, other = Listener("one"), Listener("other")
    made = Relay(database_url, [one, other])
    async with running(made):
        await note(committed, "books/1", "books/2")
        await until(lambda: len(one.heard) == len(other.heard) == 2)
        await note(committed, "books/1")
        await until(lambda: handed_on(made) == {"one": 3, "other": 3})
    assert one.heard == other.heard == [(1, "books/1"), (2, "books/2"), (3, "books/1")]
    async with running(Relay(database_url, [one, other])):  # another process goes on behind it, and waits for no hold
        await note(committed, "books/3")
        await until(lambda: len(one.heard) == len(other.heard) == 4)
    assert one.heard[3] == (4, "books/3")


async def test_two_relays_tell_each_consumer_everything_once(committed: Database, database_url: str) -> None:
    """As long as both are well."""
    consumers = [[Listener("one"), Listener("other")] for _ in range(2)]
    async with running(*(Relay(database_url, mine) for mine in consumers)):
        for turn in range(30):
            await note(committed, f"books/{turn}", f"members/{turn}")
        await until(lambda: all(sum(len(mine[place].heard) for mine in consumers) >= 60 for place in range(2)))
    for place in range(2):
        heard = sorted(number for mine in consumers for number, _ in mine[place].heard)
        assert heard == sorted(set(heard))
        assert all(mine[place].heard == sorted(mine[place].heard) for mine in consumers)


async def test_a_consumer_that_fails_is_told_again_and_does_not_stop_the_others(committed: Database, database_url: str) -> None:
    failing, well = Listener("failing", fails=2), Listener("well")
    made = Relay(database_url, [failing, well])
    async with running(made):
        await note(committed, "books/1")
        await until(lambda: well.heard)
        while not failing.heard:
            made.wake()
            await asyncio.sleep(0.01)
        await note(committed, "books/2")
        await until(lambda: len(failing.heard) == len(well.heard) == 2)
    assert failing.subjects == well.subjects == ["books/1", "books/2"]
    assert ("shelfmark_relay_failures_total", (), [2]) in list(made.told())


async def test_a_consumer_that_takes_too_long_is_told_again(
    committed: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "TELL_SECONDS", 0.05)

    class Slow(Listener):
        async def told(self, notes: Sequence[Noted]) -> None:
            """Take long the first time."""
            if self.fails:
                self.fails -= 1
                await asyncio.sleep(60)
            await super().told(notes)

    slow, well = Slow("slow", fails=1), Listener("well")
    made = Relay(database_url, [slow, well])
    async with running(made):
        await note(committed, "books/1")
        await until(lambda: well.heard)
        made.wake()
        await until(lambda: slow.heard)
    assert slow.subjects == ["books/1"]


async def test_nothing_is_lost_and_nothing_nudged_for_what_was_rolled_back(committed: Database, database_url: str) -> None:
    listener = Listener("one")
    async with running(Relay(database_url, [listener])):
        with pytest.raises(ZeroDivisionError):
            await _broken_off(committed)
        await note(committed, "books/2")
        await until(lambda: listener.heard)
    assert listener.subjects == ["books/2"]


async def test_one_whose_connection_is_killed_comes_back(committed: Database, database_url: str) -> None:
    listener, chore = Listener("one"), Chore()
    made = Relay(database_url, [listener], [chore])
    async with running(made), watching(database_url) as spared:
        for turn in range(4):
            await note(committed, f"books/{turn}")
            await until(lambda turn=turn: len(listener.heard) > turn)  # type: ignore[misc]
            await until(lambda: _killed(spared))
            done = chore.done
            await until(lambda done=done: chore.done > done)  # type: ignore[misc]
    assert list(dict.fromkeys(listener.subjects)) == [f"books/{turn}" for turn in range(4)]  # one may come twice


async def test_a_database_that_is_not_there_yet(committed: Database, database_url: str) -> None:
    listener = Listener("one")
    made = Relay(database_url.replace("shelfmark_test_", "shelfmark_none_"), [listener])
    async with running(made):
        await until(lambda: dict(_failures(made))["failures"] >= 2)
    assert listener.heard == []
    assert committed.outbox.nudge.sent == 0


async def test_a_chore_that_fails_holds_neither_the_others_up_nor_the_notes(committed: Database, database_url: str) -> None:
    failing, well, listener = Chore(ZeroDivisionError("odd")), Chore(), Listener("one")
    made = Relay(database_url, [listener], [failing, well])
    async with running(made), watching(database_url) as spared:
        await until(lambda: well.done)
        process = await spared.scalar(RELAYS)
        for turn in range(3):
            done = well.done
            await note(committed, f"books/{turn}")
            await until(lambda turn=turn, done=done: len(listener.heard) > turn and well.done > done)  # type: ignore[misc]
        assert failing.done >= 3
        assert await spared.scalar(RELAYS) == process  # it has kept its connection


async def test_old_notes_are_deleted(committed: Database, database_url: str) -> None:
    listener = Listener("one")
    await note(committed, "books/1")
    async with committed.writing() as unit:
        await unit.session.execute(text("UPDATE shelfmark_outbox SET noted_at = noted_at - interval '1 hour'"))
    made = Relay(database_url, [listener])
    async with running(made):
        await until(lambda: listener.heard)
        made._pruned = -relay_module.PRUNE_SECONDS  # noqa: SLF001
        made.wake()
        await until(lambda: _none_left(committed))


async def test_one_that_stops_leaves_its_hold_to_others(committed: Database, database_url: str) -> None:
    listener = Listener("one")
    made = Relay(database_url, [listener])
    async with running(made):
        await note(committed, "books/1")
        await until(lambda: handed_on(made))
    async with committed.writing() as unit:
        assert await feed.hold(unit.session, "one", "another") == 1


async def test_what_its_connection_is_told(database_url: str) -> None:
    """It never hangs on a server that stands still."""
    engine = create_async_engine(database_url, connect_args=CONNECTING)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SHOW statement_timeout")) == "8s"
        assert await connection.scalar(text("SHOW timezone")) == "UTC"
    await engine.dispose()


async def _killed(spared: AsyncConnection) -> bool:
    return bool(await spared.scalar(KILL))


async def _none_left(database: Database) -> bool:
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(outbox)) == 0


def _failures(made: Relay) -> list[tuple[str, float]]:
    return [("failures", numbers[0]) for name, _, numbers in made.told() if name == relay_module.FAILED.name]


async def _broken_off(database: Database) -> None:
    async with database.writing() as unit:
        await unit.session.execute(insert(outbox), {"subject": "books/1", "what": "changed"})
        raise ZeroDivisionError
