"""Copies: one row for each book that stands on the shelf and can be lent."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CheckConstraint, ColumnElement, ForeignKey, Identity, Index, ScalarSelect, select, update
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.db import Database, Model, Repository
from service.errors import Conflict
from service.http import Schema, serve
from service.tables.books import Book, BookRead
from service.tables.holds import Hold, Holds
from service.tables.rules import LendingRules

STATUSES = ("available", "lent", "set_aside", "withdrawn")


class Copy(Model):
    """The table, and the questions it answers."""

    __tablename__ = "copies"
    __table_args__ = (CheckConstraint(f"status IN {STATUSES}", name="status"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    book_id: Mapped[int] = mapped_column(ForeignKey("books.id"))
    barcode: Mapped[str] = mapped_column()
    branch: Mapped[str] = mapped_column()
    shelfmark: Mapped[str] = mapped_column()
    status: Mapped[str] = mapped_column(server_default="available")
    book: Mapped[Book] = relationship(lazy="raise")

    unique_barcode = Index("uq_copies_barcode", barcode, unique=True)
    of_book = Index("ix_copies_of_book", book_id, status, id, postgresql_include=["branch", "shelfmark"])


class CopyWrite(Schema):
    """What a client sends. What becomes of a copy is decided by lending, not by a client."""

    book_id: int
    barcode: str
    branch: str
    shelfmark: str


class CopyRead(CopyWrite):
    """What a client gets back."""

    id: int
    status: str


class Copies(Repository[Copy]):
    """Queries with a name. Each one says which index it rides on.

    A new copy of a book that somebody waits for is set aside at once: a book with a queue has no copy on the shelf.
    """

    section = LendingRules

    def __init__(self, database: Database, rules: LendingRules | None = None) -> None:
        super().__init__(database)
        self.rules = rules or LendingRules.model_construct()
        self.holds = Holds(database)

    async def by_barcode(self, barcode: str) -> Copy | None:
        """The copy with this barcode."""
        return await self.one(Copy.unique_barcode, barcode=barcode)

    async def create(self, **values: Any) -> Copy:
        """Enter a copy; whoever waits for its book gets it."""
        async with self.database.writing():
            await self.holds.lock_queue(values.get("book_id"))
            copy = await super().create(**values)
            await self._offer(copy)
            return copy

    async def batch(self, rows: Sequence[Mapping[str, Any]]) -> list[Copy]:
        """Enter copies, all or none; whoever waits for their books gets them."""
        async with self.database.writing():
            await self.holds.lock_queues({row.get("book_id") for row in rows})
            copies = await super().batch(rows)
            for copy in copies:
                await self._offer(copy)
            return copies

    async def change(self, key: Any, **values: Any) -> Copy:
        """Change what is known of a copy.

        Raises:
            Conflict: it would become a copy of another book, while loans and holds speak of this one.
        """
        async with self.database.writing() as unit:
            book = await unit.session.scalar(select(Copy.book_id).where(Copy.id == key))
            if book is not None and values.get("book_id", book) != book:
                raise Conflict("A copy stays a copy of its book. Delete it, and enter it under the other one.", fields=["book_id"])
            return await super().change(key, **values)

    async def hand_on(self, copy_id: int, book_id: int) -> Hold | None:
        """Set a copy that came free aside for the next in line, or put it on the shelf; under the lock of the queue."""
        hold = await self.holds.serve_next(book_id, copy_id, self.rules.hold_days)
        await self.become("set_aside" if hold else "available", Copy.id == copy_id)
        return hold

    async def take(self, status: str, book_id: int, *, skip: bool = False) -> int | None:
        """Take one copy of a book off the shelf, for a loan or for a hold; None where there is none.

        Args:
            status: what the copy becomes.
            book_id: its book.
            skip: pass over copies that others are about to take. Without it those are waited for: they may be put back.
        """
        self.rides(Copy.of_book)
        return await self.become(status, Copy.id == _first_free(book_id, skip=skip))

    async def become(self, status: str, *where: ColumnElement[bool]) -> int | None:
        """Give one copy another status; its id, or None where there is no such copy."""
        async with self.database.writing() as unit:
            statement = update(Copy).where(*where).values(status=status).returning(Copy.id)
            return await unit.session.scalar(statement)

    async def _offer(self, copy: Copy) -> None:
        """Set a new copy aside, if somebody waits."""
        if await self.holds.serve_next(copy.book_id, copy.id, self.rules.hold_days):
            await super().change(copy.id, status="set_aside")


def _first_free(book_id: int, *, skip: bool) -> ScalarSelect[int]:
    free = select(Copy.id).where(Copy.book_id == book_id, Copy.status == "available").order_by(Copy.id).limit(1)
    return free.with_for_update(key_share=True, skip_locked=skip).scalar_subquery()


router = serve(Copies, at="/copies", read=CopyRead, write=CopyWrite, include={"book": BookRead})
