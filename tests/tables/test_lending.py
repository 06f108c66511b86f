"""Lending under concurrency: the database decides, and what must hold in it holds whoever does what at the same moment."""

import asyncio
import datetime
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db import Database, Unit
from service.errors import TimedOut
from service.settings import Settings
from service.tables.books import Book
from service.tables.copies import Copy
from service.tables.lending import Lending
from service.tables.rules import LendingRules
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.members import MemberFactory
from tests.fixtures.databases import emptied
from tests.tables.truths import broken

RULES = LendingRules.model_construct()
LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
async def committed(database_url: str, settings: Settings, engine: AsyncEngine) -> AsyncIterator[Database]:
    """A database with connections enough for a crowd, and the patience to serve all of it."""
    crowded = settings.model_copy(update={"write_pool_size": 12, "pool_wait_seconds": 30.0, "lock_timeout_ms": 20_000})
    made = Database.connect(database_url, crowded)
    yield made
    await made.close()
    await emptied(engine)


@pytest.fixture
def lending(committed: Database) -> Lending:
    """The acts, over a database that really commits."""
    return Lending(committed, RULES)


async def holds_true(engine: AsyncEngine) -> None:
    """Check every truth."""
    async with engine.connect() as connection:
        assert await broken(connection) == {}


async def a_library(books: int, copies: int, members: int) -> tuple[list[int], list[Copy], list[int]]:
    """Books with some copies each, and members: ids, copies, ids."""
    shelf: list[Book] = await BookFactory.create_batch(books)
    stock = [copy for book in shelf for copy in await CopyFactory.create_batch(copies, book=book)]
    return [book.id for book in shelf], stock, [member.id for member in await MemberFactory.create_batch(members)]


@pytest.mark.parametrize("copies", [1, 3])
async def test_of_fifty_who_come_at_once_as_many_borrow_as_there_are_copies(
    copies: int, committing_client: AsyncClient, engine: AsyncEngine
) -> None:
    (book,), _, members = await a_library(1, copies, 50)
    for _ in range(3):
        answers = await asyncio.gather(
            *(committing_client.post("/v1/loans", json={"member_id": member, "book_id": book}) for member in members)
        )
        lent = [answer.json() for answer in answers if answer.status_code == 201]
        assert Counter(answer.status_code for answer in answers) == {201: copies, 409: 50 - copies}
        assert len({loan["copy_id"] for loan in lent}) == copies
        assert all("hold" in answer.json()["offer"] for answer in answers if answer.status_code == 409)
        await holds_true(engine)
        await asyncio.gather(*(committing_client.post(f"/v1/loans/{loan['id']}:return") for loan in lent))


async def test_of_twenty_who_scan_one_barcode_one_borrows(committing_client: AsyncClient, engine: AsyncEngine) -> None:
    _, (copy,), members = await a_library(1, 1, 20)
    bodies = [{"member_id": member, "barcode": copy.barcode} for member in members]
    answers = await asyncio.gather(*(committing_client.post("/v1/loans", json=body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}
    assert {answer.json()["reason"] for answer in answers if answer.status_code == 409} == {"lent"}
    await holds_true(engine)


async def test_a_member_who_borrows_everywhere_at_once_gets_as_many_as_allowed(
    committing_client: AsyncClient, engine: AsyncEngine
) -> None:
    books, _, (member,) = await a_library(15, 1, 1)
    bodies = [{"member_id": member, "book_id": book} for book in books]
    answers = await asyncio.gather(*(committing_client.post("/v1/loans", json=body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == {201: 10, 409: 5}
    await holds_true(engine)


async def test_a_copy_that_somebody_puts_back_is_not_refused(lending: Lending, committed: Database) -> None:
    """A borrower whose act fails after the copy was taken must not have cost the next one theirs."""
    (book,), (copy,), (first, second) = await a_library(1, 1, 2)
    taken, fail = asyncio.Event(), asyncio.Event()

    async def fails(unit: Unit) -> None:
        if not taken.is_set():
            taken.set()
            await fail.wait()
            await unit.session.execute(text("SELECT 1 / 0"))

    committed.before_commit.append(fails)
    failing = asyncio.create_task(lending.borrow(first, book_id=book))
    await taken.wait()
    waiting = asyncio.create_task(lending.borrow(second, book_id=book))
    try:
        await blocked(committed)
    finally:
        fail.set()
    assert (await waiting).copy_id == copy.id
    with pytest.raises(Exception, match="out of range"):
        await failing


async def blocked(database: Database) -> None:
    """Wait until some connection waits for a lock."""
    async with asyncio.timeout(10), database.reading() as session:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        while not await session.scalar(waiting):
            await session.scalar(text("SELECT pg_sleep(0.01)"))


async def test_a_hold_that_is_placed_while_the_last_copy_is_taken_waits(lending: Lending, committed: Database) -> None:
    (book,), _, (first, second) = await a_library(1, 1, 2)
    taken, go_on = asyncio.Event(), asyncio.Event()

    async def stop(_unit: Unit) -> None:
        taken.set()
        await go_on.wait()

    committed.before_commit.append(stop)
    borrowing = asyncio.create_task(lending.borrow(first, book_id=book))
    await taken.wait()
    committed.before_commit.clear()
    placing = asyncio.create_task(lending.place(second, book))
    try:
        await blocked(committed)
    finally:
        go_on.set()
    await borrowing
    placed = await placing
    assert (placed.hold.status, placed.place) == ("waiting", 1)


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_an_act_that_collides_is_run_once_more(
    state: str, lending: Lending, committed: Database, engine: AsyncEngine
) -> None:
    (book,), _, (member,) = await a_library(1, 1, 1)
    attempts = colliding(committed, state, times=1)
    await lending.borrow(member, book_id=book)
    assert len(attempts) == 2
    await holds_true(engine)


async def test_an_act_that_collides_twice_is_refused_and_leaves_nothing(
    lending: Lending, committed: Database, engine: AsyncEngine
) -> None:
    (book,), _, (member,) = await a_library(1, 1, 1)
    attempts = colliding(committed, "40P01", times=2)
    with pytest.raises(TimedOut):
        await lending.borrow(member, book_id=book)
    assert len(attempts) == 2
    await holds_true(engine)


async def test_what_is_no_collision_is_not_tried_again(lending: Lending, committed: Database) -> None:
    (book,), _, (member,) = await a_library(1, 1, 1)
    attempts = colliding(committed, "57014", times=1)
    with pytest.raises(TimedOut):
        await lending.borrow(member, book_id=book)
    assert len(attempts) == 1


def colliding(database: Database, state: str, times: int) -> list[Unit]:
    """Let the database end the next units of work with an error; the list of all that came as far as their commit."""
    attempts: list[Unit] = []

    async def collide(unit: Unit) -> None:
        attempts.append(unit)
        if len(attempts) <= times:
            await unit.session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$"))

    database.before_commit.append(collide)
    return attempts


class Visitor:
    """Somebody at the desk who does one thing after another, as the dice say."""

    def __init__(self, client: AsyncClient, dice: random.Random, books: list[int], copies: list[Copy], members: list[int]) -> None:
        self.client, self.dice = client, dice
        self.books, self.copies, self.members = books, copies, members
        self.answers: list[tuple[str, int]] = []

    async def act(self) -> None:
        """Do one thing."""
        member, book = self.dice.choice(self.members), self.dice.choice(self.books)
        acts: dict[str, tuple[float, Any]] = {
            "borrow": (4, lambda: self._post("loans", {"member_id": member, "book_id": book})),
            "scan": (1, lambda: self._post("loans", {"member_id": member, "barcode": self.dice.choice(self.copies).barcode})),
            "return": (4, lambda: self._with_one("loans", member, "return")),
            "renew": (3, lambda: self._with_one("loans", member, "renew")),
            "hold": (2, lambda: self._post("holds", {"member_id": member, "book_id": book})),
            "cancel": (2, lambda: self._cancel(member)),
            "enter": (0.5, lambda: self._post("copies", self._new_copy(book))),
        }
        chosen = self.dice.choices(list(acts), [weight for weight, _ in acts.values()])[0]
        answer = await acts[chosen][1]()
        if answer is not None:
            self.answers.append((chosen, answer.status_code))

    def _new_copy(self, book: int) -> dict[str, Any]:
        return {"book_id": book, "barcode": f"N{self.dice.getrandbits(60)}", "branch": "Main", "shelfmark": "N"}

    async def _post(self, where: str, body: dict[str, Any]) -> Response:
        return await self.client.post(f"/v1/{where}", json=body)

    async def _with_one(self, where: str, member: int, act: str) -> Response | None:
        rows = (await self.client.get(f"/v1/{where}?member_id={member}&returned_at=null")).json()["data"]
        url = f"/v1/{where}/{self.dice.choice(rows)['id']}:{act}" if rows else None
        return await self.client.post(url, headers={"If-Match": "*"}) if url else None

    async def _cancel(self, member: int) -> Response | None:
        rows = (await self.client.get(f"/v1/holds?member_id={member}&sort=-placed_at&limit=3")).json()["data"]
        return await self.client.delete(f"/v1/holds/{self.dice.choice(rows)['id']}") if rows else None


async def storm(client: AsyncClient, lending: Lending, engine: AsyncEngine, *, seed: int, acts: int) -> Counter[tuple[str, int]]:
    """Eight visitors at once, and a clock that lets holds expire; what holds in between is checked."""
    dice = random.Random(seed)  # noqa: S311 - dice, not secrets
    books, copies, members = await a_library(3, 2, 12)
    visitors = [Visitor(client, random.Random(dice.random()), books, copies, members) for _ in range(8)]  # noqa: S311 - likewise

    async def visit(visitor: Visitor) -> None:
        for _ in range(acts):
            await visitor.act()

    async def expire() -> None:
        for _ in range(3):
            await lending.expire_holds(LATER)

    await asyncio.gather(*map(visit, visitors), expire())
    await holds_true(engine)
    return Counter(answer for visitor in visitors for answer in visitor.answers)


async def test_a_storm(committing_client: AsyncClient, lending: Lending, engine: AsyncEngine) -> None:
    answers = await storm(committing_client, lending, engine, seed=1, acts=40)
    assert {status for _, status in answers} == {200, 201, 204, 409}
    assert {act for act, _ in answers} == {"borrow", "scan", "return", "renew", "hold", "cancel", "enter"}
    # A renewal is refused while others wait, and a scan while nothing is set aside: whether one goes through is the storm's.
    assert {act for act, status in answers if status < 300} >= {"borrow", "return", "hold", "cancel", "enter"}


async def rounds(client: AsyncClient, engine: AsyncEngine, number: int) -> None:
    """Copies and a crowd, again and again, with returns, renewals, holds and cancellations in between."""
    dice = random.Random(number)  # noqa: S311 - dice, not secrets
    books, copies, members = await a_library(2, 2, 20)
    visitor = Visitor(client, dice, books, copies, members)
    for _ in range(number):
        book = dice.choice(books)
        free = (await client.get(f"/v1/books/{book}/availability")).json()["available"]
        crowd = dice.sample(members, 10)
        before = await open_loans(engine)
        able = [member for member in crowd if before[member] < RULES.loans_most]
        ready = {hold["member_id"] for hold in await ready_holds(engine, book)}
        answers = await asyncio.gather(*(client.post("/v1/loans", json={"member_id": member, "book_id": book}) for member in crowd))
        walk_ins = [member for member in able if member not in ready]
        expected = min(free, len(walk_ins)) + len(ready.intersection(able))
        assert Counter(answer.status_code for answer in answers)[201] == expected
        await holds_true(engine)
        await asyncio.gather(*(visitor.act() for _ in range(12)))
        await holds_true(engine)
    assert {status for _, status in visitor.answers} <= {200, 201, 204, 409}


async def open_loans(engine: AsyncEngine) -> Counter[int]:
    """How many loans each member has open."""
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT member_id, count(*) FROM loans WHERE returned_at IS NULL GROUP BY 1"))
        return Counter({row[0]: row[1] for row in found})


async def ready_holds(engine: AsyncEngine, book: int) -> list[dict[str, Any]]:
    """The holds for which copies of a book are set aside."""
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT * FROM holds WHERE book_id = :book AND status = 'ready'"), {"book": book})
        return [dict(row) for row in found.mappings()]


async def test_rounds_of_crowds(committing_client: AsyncClient, engine: AsyncEngine) -> None:
    await rounds(committing_client, engine, 12)


@pytest.mark.slow
async def test_200_rounds_of_crowds(committing_client: AsyncClient, engine: AsyncEngine) -> None:
    await rounds(committing_client, engine, 200)
