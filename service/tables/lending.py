"""Lending: what members do with copies, each act one transaction that the database decides. Its routes stand in `desk.py`.

Locks are always taken in the same order, so that acts wait for each other and never in a circle:

1. the member, so that their loans are counted by one at a time: to borrow, to place a hold;
2. the book, whose row is the lock of its queue: to return, to renew, to place, cancel or expire a hold, to enter a copy;
3. the loan; 4. the hold; 5. the copy.

Two things then hold at any time: a book that somebody waits for has no copy on the shelf, and a copy that is set aside is so for
exactly one ready hold. To borrow takes no lock on the book: it only ever takes copies off the shelf, or fulfils its own hold.
"""

import datetime
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from sqlalchemy import ColumnElement, literal, select

from service.db import Database, Model, Repository
from service.db.session import once_more
from service.db.version import WHICHEVER, Match, version_of
from service.errors import Conflict, InvalidBody, ValueRefused
from service.tables.books import Book
from service.tables.copies import Copies, Copy
from service.tables.holds import Hold, Holds
from service.tables.loans import Loan, Loans
from service.tables.members import Members
from service.tables.rules import LendingRules

M = TypeVar("M", bound=Model)
COUNTED = 1000
AT_ONCE = 100
TO_WAIT = {"hold": "POST /v1/holds"}


@dataclass(frozen=True)
class Placed:
    """A hold, and its place in the queue: 1 is the next in line, None a hold that is ready, or stands behind 1000 others."""

    hold: Hold
    place: int | None


class Lending:
    """The acts of lending. Each is a unit of work of its own, with its events inside."""

    def __init__(self, database: Database, rules: LendingRules) -> None:
        self.database, self.rules = database, rules
        self.loans, self.holds, self.copies = Loans(database), Holds(database), Copies(database, rules)
        self.members = Members(database)

    @once_more
    async def borrow(self, member_id: int, *, book_id: int | None = None, barcode: str | None = None) -> Loan:
        """Lend a member any copy of a book, or the one with a barcode; the one that is set aside for them, if one is.

        Raises:
            Conflict: no copy can be had, or they have as many as they may.
            ValueRefused: there is no such member, book or barcode.
        """
        async with self.database.writing():
            await self.members.lock(member_id)
            if await self.loans.count_open_of(member_id, self.rules.loans_most) >= self.rules.loans_most:
                raise self._too_many(member_id)
            copy_id = await (self._taken_by_barcode(member_id, barcode) if barcode is not None else self._taken(member_id, book_id))
            return await self.loans.opened(copy_id, member_id, self.rules.loan_days)

    @once_more
    async def give_back(self, loan_id: int, member_id: int | None = None, match: Match = WHICHEVER) -> tuple[Loan, Hold | None]:
        """End a loan: the copy is set aside for the next in line, whose hold comes along, or stands on the shelf again.

        Args:
            loan_id: the loan.
            member_id: whose it must be, else it counts as missing; None: anybody's.
            match: the states that are meant.

        Raises:
            NotFound: there is no such loan.
            PreconditionFailed: it is in another state than is meant.
            Conflict: it has ended already.
        """
        async with self.database.writing():
            book_id, copy_id = await self.loans.lock_queue_of(loan_id, member_id)
            loan = await self.loans.returned(loan_id, match)
            if loan is None:
                raise _returned(await self._still(self.loans, loan_id, match))
            return loan, await self.copies.hand_on(copy_id, book_id)

    @once_more
    async def renew(self, loan_id: int, member_id: int | None = None, match: Match = WHICHEVER) -> Loan:
        """Put off a loan's return.

        Args:
            loan_id: the loan.
            member_id: whose it must be, else it counts as missing; None: anybody's.
            match: the states that are meant.

        Raises:
            NotFound: there is no such loan.
            PreconditionFailed: it is in another state than is meant.
            Conflict: it has ended, was renewed often enough, or somebody waits for the book.
        """
        async with self.database.writing():
            book_id, _ = await self.loans.lock_queue_of(loan_id, member_id)
            rules = self.rules
            loan = await self.loans.renewed(loan_id, book_id, rules.loan_days, rules.renewals_most, match=match)
            return loan or self._not_renewed(await self._still(self.loans, loan_id, match))

    @once_more
    async def place(self, member_id: int, book_id: int) -> Placed:
        """Let a member wait for a book; a copy on the shelf is set aside for them at once.

        Raises:
            Conflict: they have the book at home, or wait for it already.
            ValueRefused: there is no such member or book.
        """
        async with self.database.writing():
            await self.members.lock(member_id)
            if not await self.holds.lock_queue(book_id):
                raise _no_book()
            await self._may_wait(member_id, book_id)
            copy_id = await self.copies.take("set_aside", book_id)
            hold = await self.holds.placed(book_id, member_id, copy_id, self.rules.hold_days)
            return Placed(hold, None if copy_id else await self.holds.place_of(hold, COUNTED))

    @once_more
    async def cancel(self, hold_id: int, member_id: int | None = None, match: Match = WHICHEVER) -> Hold:
        """End a hold; the copy that was set aside for it goes to the next in line.

        Args:
            hold_id: the hold.
            member_id: whose it must be, else it counts as missing; None: anybody's.
            match: the states that are meant.

        Raises:
            NotFound: there is no such hold.
            PreconditionFailed: it is in another state than is meant.
            Conflict: it has ended already.
        """
        async with self.database.writing():
            await self.holds.lock_queue_of(hold_id, member_id)
            hold = await self.holds.cancel(hold_id, match)
            if hold is None:
                raise _ended(await self._still(self.holds, hold_id, match))
            await self._pass_on(hold)
            return hold

    async def expire_holds(self, now: datetime.datetime) -> int:
        """End the holds whose copy wasn't fetched until `now`, and pass the copies on, each in a unit of work; how many."""
        ended = 0
        while late := await self.holds.expired(now, AT_ONCE):
            ended += sum([await self.expire(hold_id, now) for hold_id in late])
        return ended

    @once_more
    async def expire(self, hold_id: int, now: datetime.datetime) -> bool:
        """End a hold whose copy wasn't fetched until `now`, and pass the copy on; False where that isn't so any more."""
        async with self.database.writing():
            await self.holds.lock_queue_of(hold_id)
            hold = await self.holds.expire(hold_id, now)
            if hold:
                await self._pass_on(hold)
            return hold is not None

    async def _pass_on(self, hold: Hold) -> None:
        if hold.copy_id is not None:
            await self.copies.hand_on(hold.copy_id, hold.book_id)

    async def _taken(self, member_id: int, book_id: int | None) -> int:
        """Any copy of a book. When others are about to take them all, the second look waits for what becomes of that."""
        if book_id is None:
            raise InvalidBody("Name a barcode or a book_id.")
        hold = await self.holds.fulfil(literal(book_id), member_id)
        if hold:
            return await self._fetched(hold, Copy.id == hold.copy_id)
        copy_id = await self.copies.take("lent", book_id, skip=True) or await self.copies.take("lent", book_id)
        if copy_id is None:
            raise await self._none_free(book_id)
        return copy_id

    async def _taken_by_barcode(self, member_id: int, barcode: str) -> int:
        """The copy with this barcode, if it is on the shelf or set aside for this member."""
        book = select(Copy.book_id).where(Copy.barcode == barcode).scalar_subquery()
        hold = await self.holds.fulfil(book, member_id)
        if hold:
            return await self._fetched(hold, Copy.id == hold.copy_id, Copy.barcode == barcode)
        copy_id = await self.copies.become("lent", Copy.barcode == barcode, Copy.status == "available")
        if copy_id is None:
            raise await self._not_on_the_shelf(barcode)
        return copy_id

    async def _fetched(self, hold: Hold, *copy: ColumnElement[bool]) -> int:
        """The copy that was set aside for a hold."""
        copy_id = await self.copies.become("lent", *copy, Copy.status == "set_aside")
        if copy_id is None:
            aside = await self.copies.get(hold.copy_id)
            raise Conflict(
                f"Another copy of this book is set aside for this member: {aside.barcode}. Lend that one.",
                reason="another-copy-set-aside",
                offer={"loan": "POST /v1/loans"},
                barcode=aside.barcode,
            )
        return copy_id

    async def _may_wait(self, member_id: int, book_id: int) -> None:
        loan_id = await self.loans.of_book(book_id, member_id)
        if loan_id is not None:
            raise Conflict(
                "This member has the book at home. Renew the loan, or wait for the book after it was returned.",
                reason="on-loan",
                offer={"renew": f"POST /v1/loans/{loan_id}:renew", "return": f"POST /v1/loans/{loan_id}:return"},
            )
        hold = await self.holds.open_of(book_id, member_id)
        if hold:
            ready = hold.status == "ready"
            raise Conflict(
                "A copy is set aside for this member already. Lend it." if ready else "This member waits for the book already.",
                reason="held",
                offer={"loan": "POST /v1/loans"} if ready else {"hold": f"GET /v1/holds/{hold.id}"},
            )

    async def _none_free(self, book_id: int) -> Conflict | ValueRefused:
        async with self.database.reading() as session:
            if await session.scalar(select(Book.id).where(Book.id == book_id)) is None:
                return _no_book()
        return Conflict(
            "No copy of this book is free. Place a hold, and the next one that comes back is set aside.",
            reason="no-copy-free",
            offer=TO_WAIT | {"availability": f"GET /v1/books/{book_id}/availability"},
        )

    async def _not_on_the_shelf(self, barcode: str) -> Conflict | ValueRefused:
        copy = await self.copies.by_barcode(barcode)
        if copy is None:
            return ValueRefused("No copy has this barcode. Read it again, or enter the copy first.", fields=["barcode"])
        why = {"lent": "is lent", "set_aside": "is set aside for another member", "withdrawn": "was withdrawn"}
        return Conflict(
            f"This copy {why.get(copy.status, 'was taken a moment ago')}. Ask for any copy by book_id, or place a hold.",
            reason=copy.status.replace("_", "-"),
            offer=TO_WAIT | {"availability": f"GET /v1/books/{copy.book_id}/availability"},
        )

    async def _still(self, rows: Repository[M], key: int, match: Match) -> M:
        """A row that an act left as it is, if it is in a state that was meant.

        Raises:
            PreconditionFailed: it isn't, which is why.
        """
        row = await rows.get(key)
        match.check(version_of(row))
        return row

    def _not_renewed(self, loan: Loan) -> NoReturn:
        if loan.returned_at:
            raise _returned(loan)
        most = self.rules.renewals_most
        often = loan.renewals >= most
        why = f"This loan was renewed {loan.renewals} times, and may be {most} times" if often else "Somebody waits for this book"
        raise Conflict(
            f"{why}. It is due on {loan.due_on}.",
            reason="renewed-often-enough" if often else "somebody-waits",
            offer={"return": f"POST /v1/loans/{loan.id}:return"},
        )

    def _too_many(self, member_id: int) -> Conflict:
        return Conflict(
            f"This member has {self.rules.loans_most} loans, as many as one may have. Return one first.",
            reason="too-many-loans",
            offer={"loans": f"GET /v1/loans?member_id={member_id}&returned_at=null"},
        )


def _returned(loan: Loan) -> Conflict:
    return Conflict(
        f"This copy was returned at {loan.returned_at:%Y-%m-%d %H:%M} UTC. Lend it again if it is wanted.",
        reason="returned",
        returned_at=loan.returned_at,
        offer={"loan": "POST /v1/loans"},
    )


def _ended(hold: Hold) -> Conflict:
    return Conflict(f"This hold is {hold.status} already. Place another if the book is wanted.", reason=hold.status, offer=TO_WAIT)


def _no_book() -> ValueRefused:
    return ValueRefused("book_id refers to a book that doesn't exist. Search for it by its title.", fields=["book_id"])
