"""Random acts, done in the database and in a library of plain Python: both answer the same, and end up with the same rows."""

import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trial
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db.bound import Bound, rolled_back
from service.errors import Problem
from service.tables.books import Book
from service.tables.copies import Copies, Copy
from service.tables.holds import Hold
from service.tables.lending import Lending
from service.tables.loans import Loan
from service.tables.members import Member
from service.tables.rules import LendingRules
from tests.factories import current
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.members import MemberFactory
from tests.tables.library import DONE, AHold, ALoan, Answer, Library
from tests.tables.truths import broken

RULES = LendingRules.model_construct(loans_most=2, renewals_most=1)
LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
BOOKS, COPIES, MEMBERS = 2, (0, 0, 1), 4
Act = tuple[Any, ...]

anybody, any_book, any_row = st.integers(0, MEMBERS - 1), st.integers(0, BOOKS - 1), st.integers(0, 20)
acts = st.lists(
    st.one_of(
        st.tuples(st.just("borrow"), anybody, any_book),
        st.tuples(st.just("scan"), anybody, any_row),
        st.tuples(st.just("give_back"), any_row),
        st.tuples(st.just("renew"), any_row),
        st.tuples(st.just("place"), anybody, any_book),
        st.tuples(st.just("cancel"), any_row),
        st.tuples(st.just("expire")),
        st.tuples(st.just("enter"), any_book),
    ),
    min_size=10,
    max_size=40,
)


class Served:
    """The same acts in the database."""

    def __init__(self, database: Bound, books: list[Book], members: list[Member], copies: list[Copy]) -> None:
        self.database, self.desk, self.copies = database, Lending(database, RULES), Copies(database, RULES)
        self.books = [book.id for book in books]
        self.members = [member.id for member in members]
        self.barcodes = [copy.barcode for copy in copies]

    async def do(self, name: str, *given: int) -> Answer:
        """Do one act; "done", or the reason of the refusal."""
        try:
            await getattr(self, f"_{name}")(*given)
        except Problem as problem:
            return str(problem.extra["reason"])
        return DONE

    async def _borrow(self, member: int, book: int) -> None:
        await self.desk.borrow(self.members[member], book_id=self.books[book])

    async def _scan(self, member: int, copy: int) -> None:
        await self.desk.borrow(self.members[member], barcode=self.barcodes[copy % len(self.barcodes)])

    async def _give_back(self, number: int) -> None:
        await self.desk.give_back(await self._one(Loan, number))

    async def _renew(self, number: int) -> None:
        await self.desk.renew(await self._one(Loan, number))

    async def _place(self, member: int, book: int) -> None:
        await self.desk.place(self.members[member], self.books[book])

    async def _cancel(self, number: int) -> None:
        await self.desk.cancel(await self._one(Hold, number))

    async def _expire(self) -> None:
        await self.desk.expire_holds(LATER)

    async def _enter(self, book: int) -> None:
        barcode = f"New {len(self.barcodes)}"
        self.barcodes.append(barcode)
        await self.copies.create(book_id=self.books[book], barcode=barcode, branch="Main", shelfmark="N")

    async def _one(self, model: type[Any], number: int) -> int:
        rows = await self.rows(model)
        return int(rows[number % len(rows)].id)

    async def rows(self, model: type[Any]) -> list[Any]:
        """All rows of a table, the oldest first."""
        async with self.database.reading() as session:
            return list(await session.scalars(select(model).order_by(model.id), execution_options={"populate_existing": True}))

    async def library(self) -> Library:
        """What is in the database, as the plain one would have it."""
        copies, found = await self.rows(Copy), Library(RULES, [])
        places = {copy.id: place for place, copy in enumerate(copies)}
        found.copies = [self.books.index(copy.book_id) for copy in copies]
        found.status = [copy.status for copy in copies]
        for loan in await self.rows(Loan):
            member = self.members.index(loan.member_id)
            found.loans.append(ALoan(places[loan.copy_id], member, loan.returned_at is None, loan.renewals))
        for hold in await self.rows(Hold):
            member, book = self.members.index(hold.member_id), self.books.index(hold.book_id)
            found.holds.append(AHold(book, member, hold.status, places.get(hold.copy_id)))
        return found


async def compare(engine: AsyncEngine, done: list[Act]) -> None:
    """Do the acts in both."""
    plain = Library(RULES, list(COPIES))
    async with rolled_back(engine) as database:
        token = current.set(database)
        books = await BookFactory.create_batch(BOOKS)
        copies = [await CopyFactory.create(book=books[book]) for book in COPIES]
        served = Served(database, books, await MemberFactory.create_batch(MEMBERS), copies)
        current.reset(token)
        for name, *given in done:
            if {"give_back": plain.loans, "renew": plain.loans, "cancel": plain.holds}.get(name, [True]):
                assert await served.do(name, *given) == getattr(plain, name)(*given), f"{name} {given}"
        assert await served.library() == plain
        async with database.reading() as session:
            assert await broken(await session.connection()) == {}


quiet = trial(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@trial(quiet, max_examples=12)
@given(done=acts)
async def test_the_database_and_a_plain_library_agree(done: list[Act], engine: AsyncEngine) -> None:
    await compare(engine, done)


@pytest.mark.slow
@trial(quiet, max_examples=500)
@given(done=acts)
async def test_they_agree_500_times(done: list[Act], engine: AsyncEngine) -> None:
    await compare(engine, done)
