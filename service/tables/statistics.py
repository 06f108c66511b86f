"""Statistics of books: how often each was lent, and how many wait for it, counted by jobs.

`statistics.refresh` counts the books anew that something has happened to, told by their events. An event is dated a moment before
its transaction ends, so each refresh begins a while before the last book that was counted. A book that is counted twice is counted
from its rows, and right both times. `statistics.recount` walks through all books, for those that nobody has told of.
"""

import datetime

from sqlalchemy import ForeignKey, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.db import Model, Page, Repository, Unit
from service.http import Schema, serve
from service.jobs.job import job
from service.jobs.running import Run
from service.jobs.scheduling import Schedule
from service.tables.books import Book, BookRead
from service.tables.copies import Copy
from service.tables.events import Event
from service.tables.holds import Hold
from service.tables.loans import Loan

BOOKS_AT_ONCE, EVENTS_AT_ONCE = 500, 1_000
OVERLAP = datetime.timedelta(minutes=10)
"""Longer than any transaction that writes an event may last."""
COUNT = text("""
INSERT INTO book_statistics (book_id, loans, waiting, counted_at)
SELECT id,
  (SELECT count(*) FROM copies JOIN loans ON loans.copy_id = copies.id WHERE copies.book_id = books.id),
  (SELECT count(*) FROM holds WHERE holds.book_id = books.id AND holds.status = 'waiting'),
  clock_timestamp()
FROM books WHERE id = ANY (CAST(:books AS bigint[])) ORDER BY id
ON CONFLICT (book_id) DO UPDATE SET loans = excluded.loans, waiting = excluded.waiting, counted_at = excluded.counted_at
WHERE :anyway OR (book_statistics.loans, book_statistics.waiting) <> (excluded.loans, excluded.waiting)
""")
BEGINNING = text("""
SELECT coalesce(max(counted_at) - CAST(:overlap AS interval), TIMESTAMPTZ '0001-01-01Z'), clock_timestamp() FROM book_statistics
""")
TOUCHED = text("""
WITH acts AS (
  SELECT occurred_at, id, kind, payload FROM events
  WHERE (occurred_at, id) > (:at, :id) AND occurred_at <= :until
  ORDER BY occurred_at, id LIMIT :most
), touched AS (
  SELECT CAST(payload ->> 'book_id' AS bigint) AS book_id FROM acts WHERE kind LIKE 'hold.%'
  UNION
  SELECT book_id FROM acts JOIN copies ON copies.id = CAST(payload ->> 'copy_id' AS bigint) WHERE kind = 'loan.opened'
)
SELECT (SELECT array_agg(book_id) FROM touched WHERE book_id IS NOT NULL) AS books, last.occurred_at, last.id
FROM (SELECT occurred_at, id FROM acts ORDER BY occurred_at DESC, id DESC LIMIT 1) AS last
""")
NEXT = text("SELECT id FROM books WHERE id > :id ORDER BY id LIMIT :most")


class BookStatistics(Model):
    """The table, and the questions it answers."""

    __tablename__ = "book_statistics"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    book_id: Mapped[int] = mapped_column(ForeignKey("books.id", ondelete="CASCADE"))
    loans: Mapped[int] = mapped_column(server_default="0")
    waiting: Mapped[int] = mapped_column(server_default="0")
    counted_at: Mapped[datetime.datetime] = mapped_column(server_default=func.clock_timestamp())
    book: Mapped[Book] = relationship(lazy="raise")

    unique_book = Index("uq_book_statistics_book", book_id, unique=True)
    most_lent = Index("ix_book_statistics_most_lent", loans.desc(), id.desc())
    most_wanted = Index("ix_book_statistics_most_wanted", waiting.desc(), id.desc())
    counted = Index("ix_book_statistics_counted", counted_at, id)
    default_order = (loans.desc(), id.desc())


class BookStatisticsRead(Schema):
    """What a client gets back."""

    id: int
    book_id: int
    loans: int
    waiting: int
    counted_at: datetime.datetime
    created_at: datetime.datetime


class Statistics(Repository[BookStatistics]):
    """Queries with a name. Each one says which index it rides on."""

    async def of_book(self, book_id: int) -> BookStatistics | None:
        """A book's; None where it wasn't counted yet."""
        return await self.one(BookStatistics.unique_book, book_id=book_id)

    async def most_wanted(self, limit: int = 50) -> Page[BookStatistics]:
        """Books that many wait for, the most wanted first."""
        return await self.page(BookStatistics.most_wanted, limit=limit)

    async def count_anew(self, unit: Unit, books: list[int], *, anyway: bool = True) -> None:
        """Count books anew.

        Args:
            unit: in which they are counted.
            books: those that aren't there any more are left out.
            anyway: whether it is noted too that nothing has changed.
        """
        self.rides(BookStatistics.unique_book, Copy.of_book, Loan.of_copy, Hold.of_book)
        await unit.session.execute(COUNT, {"books": books, "anyway": anyway})


@job(name="statistics.refresh", timeout=None)
async def refresh(run: Run) -> int:
    """Count the books that something has happened to; how many, where one may count again and again."""
    statistics = Statistics(run.database)
    at, last, until, done = await _beginning(run)
    while True:
        async with run.chunk() as unit:
            statistics.rides(Event.in_time)
            values = {"at": at, "id": last, "until": until, "most": EVENTS_AT_ONCE}
            found = (await unit.session.execute(TOUCHED, values)).one_or_none()
            if found is None:
                run.reached(run.checkpoint, done=done)
                return done
            books, at, last = found
            await statistics.count_anew(unit, books or [])
            done += len(books or [])
            run.reached([at.isoformat(), last, until.isoformat(), done], done=done)


@job(name="statistics.recount", timeout=None)
async def recount(run: Run) -> int:
    """Count all books; how many."""
    statistics = Statistics(run.database)
    last, done = run.checkpoint or (0, 0)
    while True:
        async with run.chunk() as unit:
            books = list((await unit.session.scalars(NEXT, {"id": last, "most": BOOKS_AT_ONCE})).all())
            await statistics.count_anew(unit, books, anyway=False)
            last, done = (books or [last])[-1], done + len(books)
            run.reached([last, done], done=done)
        if len(books) < BOOKS_AT_ONCE:
            return int(done)


async def _beginning(run: Run) -> tuple[datetime.datetime, int, datetime.datetime, int]:
    """The event after which to go on, the time up to which, and how many books were counted."""
    if run.checkpoint:
        at, last, until, done = run.checkpoint
        return datetime.datetime.fromisoformat(at), last, datetime.datetime.fromisoformat(until), done
    async with run.database.reading() as session:
        Statistics(run.database).rides(BookStatistics.counted)
        at, until = (await session.execute(BEGINNING, {"overlap": OVERLAP})).one()
    return at, 0, until, 0


every_five_minutes = Schedule(refresh, every=datetime.timedelta(minutes=5))
every_night = Schedule(recount, every=datetime.timedelta(days=1), at=datetime.timedelta(hours=3))
router = serve(Statistics, at="/book_statistics", read=BookStatisticsRead, include={"book": BookRead})
