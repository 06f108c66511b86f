"""Statistics of books: what is counted, when, and what is not counted again."""

import datetime

import pytest
from httpx import AsyncClient
from sqlalchemy import text

from service.db.bound import Bound
from service.jobs.job import Job, enqueue
from service.tables import statistics
from service.tables.lending import Lending
from service.tables.rules import LendingRules
from service.tables.statistics import Statistics, recount, refresh
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.holds import HoldFactory
from tests.factories.loans import LoanFactory
from tests.factories.members import MemberFactory
from tests.factories.statistics import BookStatisticsFactory
from tests.fixtures.jobs import RunJobs
from tests.fixtures.statements import ServedBy

RULES = LendingRules.model_construct()


async def counted(database: Bound, book_id: int) -> tuple[int, int] | None:
    """Loans of a book, and who waits for it, as they were counted."""
    found = await Statistics(database).of_book(book_id)
    return (found.loans, found.waiting) if found else None


async def result(database: Bound, run_jobs: RunJobs, job: Job[[]]) -> int:
    """Do a job; what it gives."""
    async with database.writing():
        id_ = await enqueue(job)
    assert [(ran.id, ran.outcome) for ran in await run_jobs()] == [(id_, "done")]
    async with database.reading() as session:
        return int(await session.scalar(text(f"SELECT result FROM shelfmark_jobs WHERE id = {id_}")))


async def test_what_happens_is_counted(database: Bound, run_jobs: RunJobs) -> None:
    lending = Lending(database, RULES)
    copy, member, other = await CopyFactory.create(), await MemberFactory.create(), await MemberFactory.create()
    loan = await lending.borrow(member.id, book_id=copy.book_id)
    await lending.place(other.id, copy.book_id)
    assert await result(database, run_jobs, refresh) == 1
    assert await counted(database, copy.book_id) == (1, 1)
    await lending.give_back(loan.id)
    assert await result(database, run_jobs, refresh) == 1
    assert await counted(database, copy.book_id) == (1, 0)


@pytest.mark.parametrize("at_once", [1, 2, 1000])
async def test_in_chunks(at_once: int, database: Bound, run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "EVENTS_AT_ONCE", at_once)
    monkeypatch.setattr(statistics, "BOOKS_AT_ONCE", at_once)
    lending, member = Lending(database, RULES), await MemberFactory.create()
    copies = [await CopyFactory.create() for _ in range(3)]
    for copy in copies:
        await lending.borrow(member.id, book_id=copy.book_id)
    assert await result(database, run_jobs, refresh) == 3
    assert [await counted(database, copy.book_id) for copy in copies] == [(1, 0)] * 3
    quiet = await BookFactory.create()
    assert await result(database, run_jobs, recount) == 4
    assert await counted(database, quiet.id) == (0, 0)


async def test_what_happened_long_ago_is_not_looked_at_again(database: Bound, run_jobs: RunJobs) -> None:
    lending, member, copy = Lending(database, RULES), await MemberFactory.create(), await CopyFactory.create()
    await lending.borrow(member.id, book_id=copy.book_id)
    assert await result(database, run_jobs, refresh) == 1
    assert await result(database, run_jobs, refresh) == 1  # it may have been overlooked: its event is dated before it was committed
    async with database.writing() as unit:
        await unit.session.execute(text("UPDATE events SET occurred_at = occurred_at - interval '1 day'"))
    assert await result(database, run_jobs, refresh) == 0


async def test_what_nobody_told_of_is_counted_at_night(database: Bound, run_jobs: RunJobs) -> None:
    loan = await LoanFactory.create()
    book = await BookFactory.create()
    hold, copy = await HoldFactory.create(book=book), await CopyFactory.create(book=book)
    await LoanFactory.create(copy=copy, returned_at=datetime.datetime.now(datetime.UTC))
    assert await result(database, run_jobs, refresh) == 0
    assert await counted(database, hold.book_id) is None
    assert await result(database, run_jobs, recount) == 2
    assert await counted(database, hold.book_id) == (1, 1)
    before = await Statistics(database).of_book(hold.book_id)
    assert await result(database, run_jobs, recount) == 2
    after = await Statistics(database).of_book(hold.book_id)
    assert before
    assert after
    assert (before.version, before.counted_at) == (after.version, after.counted_at)  # nothing is written where nothing changed
    assert loan


async def test_lists(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    rare, common = [await BookStatisticsFactory.create(loans=loans, waiting=10 - loans) for loans in (1, 5)]
    async with served_by("ix_book_statistics_most_lent", "pk_books"):
        lent = await client.get("/v1/book_statistics?limit=2&include=book")
    assert [row["book"]["id"] for row in lent.json()["data"]] == [common.book_id, rare.book_id]
    async with served_by("ix_book_statistics_most_wanted"):
        wanted = await client.get("/v1/book_statistics?sort=-waiting")
        assert [row.id for row in await Statistics(database).most_wanted()] == [rare.id, common.id]
    assert [row["id"] for row in wanted.json()["data"]] == [rare.id, common.id]
    async with served_by("uq_book_statistics_book"):
        assert (await client.get(f"/v1/book_statistics?book_id={rare.book_id}")).json()["data"][0]["loans"] == 1


async def test_they_go_with_their_book(client: AsyncClient, database: Bound) -> None:
    found = await BookStatisticsFactory.create()
    assert (await client.delete(f"/v1/books/{found.book_id}")).status_code == 204
    assert await Statistics(database).of_book(found.book_id) is None
