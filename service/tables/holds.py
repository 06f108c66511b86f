"""Holds: one row for each member who waits for a book; when a copy comes back it is set aside for the first of them."""

import datetime
from collections.abc import Collection, Sequence

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.db import Model, Page, Repository
from service.db.version import WHICHEVER, Match
from service.http import Schema, serve
from service.tables.books import Book, BookRead
from service.tables.events import Events
from service.tables.members import Member, MemberRead

STATUSES = ("waiting", "ready", "fulfilled", "cancelled", "expired")


class Hold(Model):
    """The table, and the questions it answers."""

    __tablename__ = "holds"
    __table_args__ = (CheckConstraint(f"status IN {STATUSES}", name="status"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    book_id: Mapped[int] = mapped_column(ForeignKey("books.id"))
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id"))
    copy_id: Mapped[int | None] = mapped_column(ForeignKey("copies.id"))
    placed_at: Mapped[datetime.datetime] = mapped_column(server_default=func.clock_timestamp())
    status: Mapped[str] = mapped_column(server_default="waiting")
    ready_at: Mapped[datetime.datetime | None] = mapped_column()
    expires_at: Mapped[datetime.datetime | None] = mapped_column()
    book: Mapped[Book] = relationship(lazy="raise")
    member: Mapped[Member] = relationship(lazy="raise")

    queue = Index("ix_holds_queue", book_id, placed_at, id, postgresql_where=status == "waiting")
    unique_waiting = Index("uq_holds_waiting", book_id, member_id, unique=True, postgresql_where=status == "waiting")
    unique_ready = Index("uq_holds_ready", book_id, member_id, unique=True, postgresql_where=status == "ready")
    # What stops a copy from being set aside for two is this index.
    unique_copy = Index("uq_holds_copy", copy_id, unique=True, postgresql_where=status == "ready")
    of_book = Index("ix_holds_of_book", book_id, id)
    of_member = Index("ix_holds_of_member", member_id, placed_at, id)
    of_copy = Index("ix_holds_of_copy", copy_id, id)
    expiring = Index("ix_holds_expiring", expires_at, id, postgresql_where=status == "ready")
    default_order = (placed_at, id)


class HoldRead(Schema):
    """What a client gets back."""

    id: int
    book_id: int
    member_id: int
    copy_id: int | None
    placed_at: datetime.datetime
    status: str
    ready_at: datetime.datetime | None
    expires_at: datetime.datetime | None


def has_status(*statuses: str) -> ColumnElement[bool]:
    """Whether a hold has one of these statuses, spelled so that partial indexes serve it: as literals, never as parameters."""
    return or_(*(Hold.status == literal_column(f"'{status}'") for status in statuses))


class Holds(Repository[Hold]):
    """Queries with a name. Each one says which index it rides on.

    The queue of a book has one lock: the book's row. Whoever changes the queue, or makes a copy free, takes it first.
    """

    async def lock_queue(self, book_id: int | None) -> bool:
        """Take the lock of a book's queue until the unit of work ends; False where there is no such book."""
        return await self.lock_queues([book_id]) == [book_id]

    async def lock_queues(self, book_ids: Collection[int | None]) -> Sequence[int]:
        """Take the locks of several queues, always in the same order; the books that there are."""
        async with self.database.writing() as unit:
            books = select(Book.id).where(Book.id.in_(book_ids)).order_by(Book.id).with_for_update(key_share=True)
            return (await unit.session.scalars(books)).all()

    async def lock_queue_of(self, hold_id: int, member_id: int | None = None) -> int:
        """Take the lock of the queue that a hold stands in; the book's id.

        Args:
            hold_id: the hold.
            member_id: whose it must be; None: anybody's.

        Raises:
            NotFound: there is no such hold.
        """
        async with self.database.writing() as unit:
            theirs = [] if member_id is None else [Hold.member_id == member_id]
            book = select(Book.id).join(Hold, Hold.book_id == Book.id).where(Hold.id == hold_id, *theirs)
            return self._found(await unit.session.scalar(book.with_for_update(key_share=True, of=Book)), hold_id)

    async def waiting(self, book_id: int, limit: int = 50) -> Page[Hold]:
        """Who waits for a book, the next in line first."""
        return await self.page(Hold.queue, book_id=book_id, status="waiting", limit=limit)

    async def place_of(self, hold: Hold, most: int) -> int | None:
        """How many wait for a book up to this hold, itself included; None where it is more than `most`."""
        async with self.database.reading() as session:
            self.rides(Hold.queue)
            before = select(Hold.id).where(Hold.book_id == hold.book_id, has_status("waiting"))
            before = before.where(tuple_(Hold.placed_at, Hold.id) <= tuple_(hold.placed_at, hold.id)).limit(most + 1)
            place = int(await session.scalar(select(func.count()).select_from(before.subquery())) or 0)
            return place if place <= most else None

    async def open_of(self, book_id: int, member_id: int) -> Hold | None:
        """The hold by which a member waits for a book, or has a copy set aside."""
        async with self.database.reading() as session:
            self.rides(Hold.unique_waiting, Hold.unique_ready)
            theirs = select(Hold).where(Hold.book_id == book_id, Hold.member_id == member_id)
            both = theirs.where(has_status("waiting")).union_all(theirs.where(has_status("ready")))
            found: Hold | None = await session.scalar(select(Hold).from_statement(both))
            return found

    async def placed(self, book_id: int, member_id: int, copy_id: int | None, days: int) -> Hold:
        """Place a hold; it is ready at once where a copy was set aside for it.

        Raises:
            Conflict: this member waits for the book already.
        """
        async with self.database.writing() as unit:
            values = {
                "book_id": book_id,
                "member_id": member_id,
                **({"status": "ready"} | _ready(copy_id, days) if copy_id else {}),
            }
            hold = (await unit.session.scalars(insert(Hold).values(values).returning(Hold))).one()
            await self._tell("placed", hold)
            if copy_id:
                await self._tell("ready", hold)
            return hold

    async def serve_next(self, book_id: int, copy_id: int, days: int) -> Hold | None:
        """Set a copy aside for the first in line, under the lock of the queue; None where nobody waits."""
        self.rides(Hold.queue)
        first = select(Hold.id).where(Hold.book_id == book_id, has_status("waiting")).order_by(Hold.placed_at, Hold.id).limit(1)
        return await self._become("ready", Hold.id == first.scalar_subquery(), **_ready(copy_id, days))

    async def fulfil(self, book: ColumnElement[int], member_id: int) -> Hold | None:
        """End the hold by which a copy of a book is set aside for a member; None where there is none."""
        self.rides(Hold.unique_ready)
        return await self._become("fulfilled", Hold.book_id == book, Hold.member_id == member_id, has_status("ready"))

    async def cancel(self, hold_id: int, match: Match = WHICHEVER) -> Hold | None:
        """End a hold because nobody wants it any more; None where it has ended already, or is in another state than is meant."""
        return await self._become("cancelled", Hold.id == hold_id, has_status("waiting", "ready"), *match.conditions(Hold))

    async def expire(self, hold_id: int, now: datetime.datetime) -> Hold | None:
        """End a hold whose copy wasn't fetched; None where that isn't so any more."""
        return await self._become("expired", Hold.id == hold_id, has_status("ready"), Hold.expires_at <= now)

    async def expired(self, now: datetime.datetime, limit: int) -> Sequence[int]:
        """Holds whose copy waits for too long, those that expired first."""
        async with self.database.reading() as session:
            self.rides(Hold.expiring)
            late = select(Hold.id).where(has_status("ready"), Hold.expires_at <= now)
            return (await session.scalars(late.order_by(Hold.expires_at, Hold.id).limit(limit))).all()

    async def _become(self, status: str, *where: ColumnElement[bool], **values: object) -> Hold | None:
        async with self.database.writing() as unit:
            statement = update(Hold).where(*where).values(status=status, **values).returning(Hold)
            hold: Hold | None = await unit.session.scalar(statement, execution_options={"populate_existing": True})
            if hold:
                await self._tell(status, hold)
            return hold

    async def _tell(self, act: str, hold: Hold) -> None:
        about = {"book_id": hold.book_id, "member_id": hold.member_id, "copy_id": hold.copy_id if act != "placed" else None}
        known = {name: value for name, value in about.items() if value is not None}
        await Events(self.database).record(f"hold.{act}", f"holds/{hold.id}", **known)


def _ready(copy_id: int, days: int) -> dict[str, object]:
    now = func.clock_timestamp()
    return {
        "copy_id": copy_id,
        "ready_at": now,
        "expires_at": now + datetime.timedelta(days=days),
    }


router = serve(Holds, at="/holds", read=HoldRead, include={"book": BookRead, "member": MemberRead}, within="member_id")
