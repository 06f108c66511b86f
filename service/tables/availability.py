"""Whether a book can be had: its copies by what became of them, where it stands on the shelf, who waits, and when one is due."""

import datetime
from typing import Any

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database
from service.errors import NotFound
from service.http import Schema
from service.tables.books import Book
from service.tables.copies import Copy
from service.tables.holds import Hold, has_status
from service.tables.loans import Loan

COUNTED = 1000


class Shelf(Schema):
    """Copies that can be taken off the shelf, in one branch."""

    branch: str
    copies: int


class Availability(Schema):
    """Whether a book can be had. Copies and holds are counted up to 1000 of each."""

    book_id: int
    available: int
    lent: int
    set_aside: int
    withdrawn: int
    on_the_shelf: list[Shelf]
    waiting: int
    next_due_on: datetime.date | None


async def availability(database: Database, book_id: int) -> Availability:
    """How things stand with a book.

    Raises:
        NotFound: there is no such book.
        IndexNotReady: an index that this rides is withdrawn.
    """
    some = select(Copy.status, Copy.branch).where(Copy.book_id == book_id).order_by(Copy.status, Copy.id).limit(COUNTED).subquery()
    counted = select(some.c.status, some.c.branch, func.count()).group_by(some.c.status, some.c.branch)
    waiting = select(_waiting(book_id), _next_due(book_id)).where(Book.id == book_id)

    async def asked(session: AsyncSession) -> tuple[Any, Any]:
        database.catalogue.need(Copy.of_book, Hold.queue, Loan.open_of_copy)
        return (await session.execute(waiting)).one_or_none(), (await session.execute(counted)).all()

    book, copies = await database.read(asked)
    if book is None:
        raise NotFound(f"There is no {book_id} in books. It may have been deleted.")
    by_status = {status: sum(found[2] for found in copies if found[0] == status) for status in ("available", "lent", "set_aside")}
    return Availability(
        book_id=book_id,
        **by_status,
        withdrawn=sum(found[2] for found in copies) - sum(by_status.values()),
        on_the_shelf=[Shelf(branch=branch, copies=number) for status, branch, number in sorted(copies) if status == "available"],
        waiting=book[0],
        next_due_on=book[1],
    )


def _waiting(book_id: int) -> ScalarSelect[int]:
    some = select(Hold.id).where(Hold.book_id == book_id, has_status("waiting")).limit(COUNTED).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _next_due(book_id: int) -> ScalarSelect[datetime.date]:
    lent = select(Copy.id).where(Copy.book_id == book_id, Copy.status == "lent").limit(COUNTED).subquery()
    is_open = (Loan.copy_id == lent.c.id) & Loan.returned_at.is_(None)
    return select(func.min(Loan.due_on)).select_from(lent).join(Loan, is_open).scalar_subquery()
