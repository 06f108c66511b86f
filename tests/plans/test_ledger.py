"""The ledger: refusals counted by shape, written down, added up, bounded, and never a value of a client's."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text
from structlog.testing import capture_logs

from service import schema
from service.app import PREFIX, create_app
from service.contract.choose import choose
from service.contract.question import Question, Sort
from service.contract.shape import read
from service.db import Database
from service.db.bound import Bound
from service.errors import Unavailable
from service.plans import ledger
from service.plans.ledger import OTHERS, Ledger, Refused, refused
from service.settings import Settings
from tests.contract.library import books
from tests.fixtures.application import client_of
from tests.fixtures.databases import settings_of
from tests.fixtures.statements import Queries

ASKED = Question({"title": "a secret"})


async def rows(database: Database) -> Sequence[Refused]:
    """The whole ledger."""
    async with database.reading() as session:
        return await refused(session)


def counted(*questions: Question) -> Ledger:
    """A ledger that has counted some questions."""
    made = Ledger()
    for question in questions:
        made.count(books, question)
    return made


async def flushed(held: Ledger, database: Database) -> Sequence[Refused]:
    """The whole ledger, with what a process has counted."""
    await held.flush(database)
    return await rows(database)


def wide(number: int) -> Question:
    """A question of a shape of its own."""
    return Question({f"column_{number}": 1})


async def test_counting_sends_nothing_and_flushing_one_statement(database: Bound, queries: Queries) -> None:
    held = counted(ASKED, ASKED, Question({"title": None}))
    held._pruned_at = float("inf")  # noqa: SLF001
    assert len(queries) == 0
    await held.flush(database)
    assert len(queries) == 1
    await held.flush(database)
    assert len(queries) == 1, "nothing has been counted since"


async def test_what_is_written_down(database: Bound) -> None:
    await counted(ASKED, ASKED, Question({"title": None}, sort=(Sort("isbn13"),))).flush(database)
    one, other = await rows(database)
    assert (one.table, one.question, one.times) == ("books", "title=", 2)
    assert (other.table, other.question, other.times) == ("books", "title=null & sort=isbn13", 1)
    assert read(one.shape).question(books).equals.keys() == {"title"}
    assert one.first_at <= one.last_at
    assert "secret" not in str([one, other])


async def test_processes_and_flushes_add_up(database: Bound) -> None:
    await counted(ASKED).flush(database)
    (first,) = await rows(database)
    await counted(ASKED, ASKED).flush(database)
    (both,) = await rows(database)
    assert (both.times, both.first_at) == (3, first.first_at)
    assert both.last_at > first.last_at


async def test_many_at_once_lose_nothing(committed: Database) -> None:
    """Each with the same shapes, counted in another order: none waits for the others in a circle."""
    ledgers = [counted(*(wide(number * step % 101) for number in range(1, 101))) for step in (1, 3, 7, 50)]
    await asyncio.gather(*(held.flush(committed) for held in ledgers))
    found = await rows(committed)
    assert {row.times for row in found} == {4}
    assert len(found) == 100


async def test_rows_are_written_in_the_order_of_the_key(database: Bound) -> None:
    """Whoever else writes them does so too, and so two processes never wait for each other in a circle."""
    numbers = [number * 37 % 50 for number in range(50)]
    await counted(*map(wide, numbers)).flush(database)
    async with database.reading() as session:
        written = list(await session.scalars(text("SELECT shape FROM shelfmark_refusals ORDER BY ctid")))
    assert written == sorted(written)
    assert len(written) == 50


async def test_a_process_counts_so_many_shapes_and_no_more(database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SHAPES_MOST", 3)
    await counted(*(wide(number) for number in range(5)), wide(0)).flush(database)
    found = await rows(database)
    assert {row.question: row.times for row in found} == {
        "column_0=": 2,
        "column_1=": 1,
        "column_2=": 1,
        "(questions that found no room)": 2,
    }


async def test_the_table_holds_so_many_shapes_and_no_more(database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROWS_MOST", 3)
    await counted(wide(0), wide(1)).flush(database)
    await counted(wide(0), wide(2), wide(3), wide(3), wide(4)).flush(database)
    assert {row.question: row.times for row in await rows(database)} == {
        "column_0=": 2,
        "column_1=": 1,
        "column_3=": 2,
        "(questions that found no room)": 2,
    }
    await counted(wide(5), wide(1)).flush(database)
    assert {row.question: row.times for row in await rows(database)} == {
        "column_0=": 2,
        "column_1=": 2,
        "column_3=": 2,
        "(questions that found no room)": 3,
    }


async def test_a_shape_that_no_index_could_hold_is_counted_among_the_others(database: Bound) -> None:
    """PostgreSQL refuses an entry of more than 2,700 bytes, and with it all that came along."""
    await counted(Question({f"{'c' * 63}{number}": 1 for number in range(100)}), ASKED).flush(database)
    assert {row.shape == OTHERS: row.times for row in await rows(database)} == {True: 1, False: 1}


async def test_a_full_table_makes_room_for_what_is_asked_more(database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROWS_MOST", 3)
    monkeypatch.setattr(ledger, "ROWS_KEPT", 2)
    await counted(wide(0), wide(0), wide(1), wide(1), wide(2), wide(3)).flush(database)
    assert {row.question for row in await rows(database)} == {"column_0=", "column_1=", "(questions that found no room)"}


async def test_what_nobody_asks_any_more_is_forgotten(database: Bound) -> None:
    await counted(wide(0), wide(1)).flush(database)
    for days, row in ((ledger.REMEMBERED_DAYS + 1, 0), (ledger.REMEMBERED_DAYS - 1, 1)):
        async with database.writing() as unit:
            aged = text("UPDATE shelfmark_refusals SET last_at = last_at - CAST(:age AS interval) WHERE question = :question")
            await unit.session.execute(aged, {"age": timedelta(days=days), "question": f"column_{row}="})
    await counted(wide(2)).flush(database)
    assert {row.question for row in await rows(database)} == {"column_1=", "column_2="}


@pytest.fixture
def away(settings: Settings) -> Database:
    """A database that can't be reached."""
    url = "postgresql+asyncpg://u@127.0.0.1:1/x"
    return Database.connect(url, settings_of(url))


async def test_counts_wait_while_the_database_is_away(away: Database, database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SHAPES_MOST", 3)
    held = counted(wide(0), wide(1), wide(2))
    for number in (3, 0):
        with pytest.raises(Unavailable):
            await held.flush(away)
        held.count(books, wide(number))
    await held.flush(database)
    assert {row.question: row.times for row in await rows(database)} == {
        "column_0=": 2,
        "column_1=": 1,
        "column_2=": 1,
        "(questions that found no room)": 1,
    }


async def test_counts_that_come_meanwhile_stay_beside_those_that_wait(
    away: Database, database: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "SHAPES_MOST", 3)
    held = counted(wide(0), wide(1), wide(2))
    failing = asyncio.create_task(held.flush(away))
    await asyncio.sleep(0)
    assert not held._counts, "it is on its way"  # noqa: SLF001
    for number in (5, 6, 0):
        held.count(books, wide(number))
    with pytest.raises(Unavailable):
        await failing
    assert sorted(row.times for row in await flushed(held, database)) == [1, 1, 2, 2]


async def test_it_is_written_down_while_it_runs_and_when_it_ends(committed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "FLUSH_SECONDS", 0.01)
    held = counted(ASKED)
    async with held.kept(committed):
        async with asyncio.timeout(10):
            while not await rows(committed):
                pass
        held.count(books, ASKED)
    assert [row.times for row in await rows(committed)] == [2]


async def test_an_end_writes_down_at_once(database: Bound) -> None:
    held = counted(ASKED)
    async with asyncio.timeout(ledger.FLUSH_SECONDS), held.kept(database):
        pass
    assert [row.times for row in await rows(database)] == [1]


class Persistent(Ledger):
    """One that tells when it has tried a fifth time."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts, self.fifth = 0, asyncio.Event()

    async def flush(self, database: Database) -> None:
        """Try."""
        self.attempts += 1
        if self.attempts == 5:
            self.fifth.set()
        await super().flush(database)


async def test_a_ledger_that_fails_says_so_once_and_goes_on(database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    """A code that is newer than its database, or a role without the right."""
    monkeypatch.setattr(ledger, "FLUSH_SECONDS", 0.001)
    async with database.writing() as unit:
        await unit.session.execute(text("ALTER TABLE shelfmark_refusals RENAME TO elsewhere"))
    held = Persistent()
    held.count(books, ASKED)
    with capture_logs() as logs:
        async with held.kept(database):
            async with asyncio.timeout(10):
                await held.fifth.wait()
            assert len(logs) == 1
            async with database.writing() as unit:
                await unit.session.execute(text("ALTER TABLE elsewhere RENAME TO shelfmark_refusals"))
    assert "run the migrations" in logs[0]["reason"]
    assert [row.times for row in await rows(database)] == [1]


async def test_an_end_does_not_wait_for_a_database_that_does_not_answer(
    committed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LAST_SECONDS", 0.3)
    rival = Database(committed.reads.engine, committed.writes.engine)  # whose unit of work the ledger isn't in
    held = counted(ASKED)
    async with rival.writing() as unit:
        await unit.session.execute(text("LOCK TABLE shelfmark_refusals IN ACCESS EXCLUSIVE MODE"))
        async with asyncio.timeout(2), held.kept(committed):
            pass
    await held.flush(committed)
    assert [row.times for row in await rows(committed)] == [1]


def unserved() -> tuple[str, str]:
    """A list that isn't served: its address, and how its table is called."""
    for router in schema.routers():
        of = router.table.of
        for name in of.expressions:
            if choose(of.contract, Question(sort=(Sort(name),))) is None and name in router.table.showing.members:
                return f"{PREFIX}{router.prefix}?sort={name}", of.contract.table
    raise AssertionError("every order of every table is served")


async def test_a_refusal_over_http_is_counted(settings: Settings, committed: Database) -> None:
    address, table = unserved()
    app: FastAPI = create_app(settings, committed)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get(address)).status_code == 400
    (row,) = await rows(committed)
    assert (row.table, row.times) == (table, 1)
    assert row.question == address.partition("?")[2]


async def test_only_refusals_are_counted(app: FastAPI, client: AsyncClient) -> None:
    prefix = PREFIX + schema.routers()[0].prefix
    for address in (f"{prefix}?sort=id", f"{prefix}?nonsense=1", f"{prefix}/0", "/v1/nothing"):
        await client.get(address)
    assert app.state.service.ledger._counts == {}  # noqa: SLF001


def test_other_tables_are_counted_apart() -> None:
    held = counted(ASKED)
    held.count(replace(books, table="others"), ASKED)
    assert sorted(held._counts.values()) == [1, 1]  # noqa: SLF001
