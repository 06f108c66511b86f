"""Loans: one row for each time a copy is lent; open until it is returned."""

import datetime

from sqlalchemy import (
    ColumnElement,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    cast,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.contract.question import Bound, Question, Range, Sort
from service.db import Model, Page, Repository
from service.db.version import WHICHEVER, Match
from service.http import Schema, serve
from service.tables.books import Book
from service.tables.copies import Copy, CopyRead
from service.tables.events import Events
from service.tables.holds import Hold, has_status
from service.tables.members import Member, MemberRead


class Loan(Model):
    """The table, and the questions it answers."""

    __tablename__ = "loans"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    copy_id: Mapped[int] = mapped_column(ForeignKey("copies.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    borrowed_at: Mapped[datetime.datetime] = mapped_column(server_default=func.clock_timestamp())
    due_on: Mapped[datetime.date] = mapped_column()
    returned_at: Mapped[datetime.datetime | None] = mapped_column()
    renewals: Mapped[int] = mapped_column(Integer, server_default="0")
    copy: Mapped[Copy] = relationship(lazy="raise")
    member: Mapped[Member] = relationship(lazy="raise")

    # What stops a copy from being lent twice is this index, not a check in Python.
    open_of_copy = Index("uq_loans_open_of_copy", copy_id, unique=True, postgresql_where=returned_at.is_(None))
    overdue = Index("ix_loans_overdue", due_on, id, postgresql_where=returned_at.is_(None))
    of_copy = Index("ix_loans_of_copy", copy_id, borrowed_at.desc(), id.desc())
    of_member = Index("ix_loans_of_member", member_id, borrowed_at.desc(), id.desc())
    open_of_member = Index(
        "ix_loans_open_of_member", member_id, borrowed_at.desc(), id.desc(), postgresql_where=returned_at.is_(None)
    )
    default_order = (borrowed_at.desc(), id.desc())


class LoanRead(Schema):
    """What a client gets back."""

    id: int
    copy_id: int
    member_id: int
    borrowed_at: datetime.datetime
    due_on: datetime.date
    returned_at: datetime.datetime | None
    renewals: int


class Loans(Repository[Loan]):
    """Queries with a name. Each one says which index it rides on."""

    async def open_of(self, member_id: int, limit: int = 50) -> Page[Loan]:
        """What a member has at home, the latest first."""
        return await self.page(Loan.open_of_member, member_id=member_id, returned_at=None, limit=limit)

    async def late(self, today: datetime.date, limit: int = 50) -> Page[Loan]:
        """What should have come back before today, the longest overdue first."""
        late = Question({"returned_at": None}, (Range("due_on", upper=Bound(today, inclusive=False)),), sort=(Sort("due_on"),))
        return await self.ask(late, self._along(Loan.overdue, late), limit)

    async def count_open_of(self, member_id: int, most: int) -> int:
        """How many loans a member has open, counted up to `most`."""
        async with self.database.reading() as session:
            self.rides(Loan.open_of_member)
            theirs = select(Loan.id).where(Loan.member_id == member_id, Loan.returned_at.is_(None)).limit(most)
            return int(await session.scalar(select(func.count()).select_from(theirs.subquery())) or 0)

    async def of_book(self, book_id: int, member_id: int) -> int | None:
        """The open loan by which a member has a copy of a book."""
        async with self.database.reading() as session:
            self.rides(Loan.open_of_member)
            theirs = select(Loan.id).join(Copy).where(Loan.member_id == member_id, Loan.returned_at.is_(None))
            return await session.scalar(theirs.where(Copy.book_id == book_id).limit(1))

    async def lock_queue_of(self, loan_id: int, member_id: int | None = None) -> tuple[int, int]:
        """Take the lock of the queue for the book of a loan; the ids of the book and of the copy.

        Args:
            loan_id: the loan.
            member_id: whose it must be; None: anybody's.

        Raises:
            NotFound: there is no such loan.
        """
        async with self.database.writing() as unit:
            book = select(Book.id, Copy.id).join(Copy, Copy.book_id == Book.id).join(Loan, Loan.copy_id == Copy.id)
            theirs = [] if member_id is None else [Loan.member_id == member_id]
            found = await unit.session.execute(book.where(Loan.id == loan_id, *theirs).with_for_update(key_share=True, of=Book))
            book_id, copy_id = self._found(found.one_or_none(), loan_id)
            return book_id, copy_id

    async def opened(self, copy_id: int, member_id: int, days: int) -> Loan:
        """Lend a copy that was taken."""
        async with self.database.writing() as unit:
            values = {"copy_id": copy_id, "member_id": member_id, "due_on": _today() + days}
            loan = (await unit.session.scalars(insert(Loan).values(values).returning(Loan))).one()
            await self._tell("opened", loan)
            return loan

    async def returned(self, loan_id: int, match: Match = WHICHEVER) -> Loan | None:
        """End a loan; None where it has ended already, or is in another state than the one that is meant."""
        return await self._update("returned", loan_id, *match.conditions(Loan), returned_at=func.clock_timestamp())

    async def renewed(self, loan_id: int, book_id: int, days: int, most: int, *, match: Match = WHICHEVER) -> Loan | None:
        """Put off a loan's return.

        Returns:
            None where it has ended, was renewed `most` times, is in another state than the one that is meant, or somebody waits for
            the book.
        """
        wanted = exists().where(Hold.book_id == book_id, has_status("waiting"))
        later = func.greatest(Loan.due_on, _today()) + days
        still = (~wanted, Loan.renewals < most, *match.conditions(Loan))
        return await self._update("renewed", loan_id, *still, renewals=Loan.renewals + 1, due_on=later)

    async def _update(self, act: str, loan_id: int, *where: ColumnElement[bool], **values: object) -> Loan | None:
        async with self.database.writing() as unit:
            still_open = update(Loan).where(Loan.id == loan_id, Loan.returned_at.is_(None), *where)
            anew = {"populate_existing": True}
            loan = await unit.session.scalar(still_open.values(values).returning(Loan), execution_options=anew)
            if loan:
                await self._tell(act, loan)
            return loan

    async def _tell(self, act: str, loan: Loan) -> None:
        about = {"copy_id": loan.copy_id, "member_id": loan.member_id}
        due = {} if act == "returned" else {"due_on": loan.due_on.isoformat()}
        await Events(self.database).record(f"loan.{act}", f"loans/{loan.id}", **about, **due)


def _today() -> ColumnElement[datetime.date]:
    """The database's day, in UTC: its connections are set to that."""
    return cast(func.clock_timestamp(), Date)


router = serve(
    Loans,
    at="/loans",
    read=LoanRead,
    include={"copy": CopyRead, "member": MemberRead},
    within="member_id",
    demands="If-Match",
)
