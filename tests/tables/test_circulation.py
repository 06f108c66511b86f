"""What the library does by itself: one event for each loan and day that it is overdue, and copies that are passed on."""

import asyncio
import datetime
from typing import Any

import pytest
from sqlalchemy import select, text

from service import schema
from service.db import Database
from service.db.bound import Bound
from service.jobs import transitions
from service.jobs.job import enqueue
from service.jobs.running import perform
from service.tables import circulation
from service.tables.circulation import expire_holds, tell_overdue
from service.tables.copies import Copy
from service.tables.events import Event
from service.tables.holds import Hold
from service.tables.loans import Loan
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.holds import HoldFactory
from tests.factories.loans import LoanFactory
from tests.fixtures.jobs import RunJobs

TODAY = datetime.datetime.now(datetime.UTC).date()
A_DAY = datetime.timedelta(days=1)


async def told(database: Database) -> list[tuple[str, Any]]:
    """What was told of overdue loans."""
    async with database.reading() as session:
        found = await session.scalars(select(Event).where(Event.kind == "loan.overdue").order_by(Event.id))
        return [(event.subject, event.payload["day"]) for event in found]


async def asked(database: Database) -> int:
    """Have the sweep done."""
    async with database.writing():
        return await enqueue(tell_overdue)


@pytest.fixture
async def late() -> list[Loan]:
    """Loans that should be back; besides them are some that needn't, or are."""
    found = [await LoanFactory.create(due_on=TODAY - days * A_DAY) for days in (9, 1, 1, 30)]
    await LoanFactory.create(due_on=TODAY)
    await LoanFactory.create(due_on=TODAY - 9 * A_DAY, returned_at=datetime.datetime.now(datetime.UTC))
    return sorted(found, key=lambda loan: (loan.due_on, loan.id))


@pytest.mark.parametrize("at_once", [1, 2, 500])
async def test_each_loan_once_a_day_however_often(
    at_once: int, late: list[Loan], database: Bound, run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circulation, "LOANS_AT_ONCE", at_once)
    for _ in range(3):
        await asked(database)
        assert [ran.outcome for ran in await run_jobs()] == ["done"]
    assert await told(database) == [(f"loans/{loan.id}", TODAY.isoformat()) for loan in late]
    async with database.writing() as unit:  # a day later
        await unit.session.execute(text('UPDATE events SET payload = payload || \'{"day": "2020-01-01"}\''))
    await asked(database)
    await run_jobs()
    assert len(await told(database)) == 2 * len(late)


async def test_an_event_says_of_what(late: list[Loan], database: Bound, run_jobs: RunJobs) -> None:
    await asked(database)
    await run_jobs()
    async with database.reading() as session:
        event = (await session.scalars(select(Event).where(Event.subject == f"loans/{late[0].id}"))).one()
    assert event.payload == {
        "day": TODAY.isoformat(),
        "copy_id": late[0].copy_id,
        "member_id": late[0].member_id,
        "due_on": late[0].due_on.isoformat(),
    }


async def test_a_sweep_that_was_broken_off_goes_on(
    late: list[Loan], database: Bound, run_jobs: RunJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its checkpoint, and for the day on which it began."""
    monkeypatch.setattr(circulation, "LOANS_AT_ONCE", 1)
    id_ = await asked(database)
    async with database.writing() as unit:
        checkpoint = '["2020-01-01", "0001-01-01", 0, 3, 2]'
        await unit.session.execute(text(f"UPDATE shelfmark_jobs SET checkpoint = '{checkpoint}' WHERE id = {id_}"))
    await run_jobs()
    assert await told(database) == []  # on that day none was overdue yet
    async with database.reading() as session:
        result = await session.scalar(text(f"SELECT result FROM shelfmark_jobs WHERE id = {id_}"))
    assert result == {"day": "2020-01-01", "loans": 3, "told": 2}
    assert late


async def test_two_sweeps_at_the_same_time_tell_each_loan_once(committed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circulation, "LOANS_AT_ONCE", 7)
    async with committed.writing() as unit:
        for statement in (
            "INSERT INTO authors (name) VALUES ('one')",
            "INSERT INTO books (author_id, title) SELECT id, 'a' FROM authors",
            "INSERT INTO members (email, name) VALUES ('a@b.example', 'a')",
            """INSERT INTO copies (book_id, barcode, branch, shelfmark, status)
               SELECT id, n::text, 'a', 'a', 'lent' FROM books, generate_series(1, 50) AS n""",
            "INSERT INTO loans (copy_id, member_id, due_on) SELECT copies.id, members.id, '2020-01-01' FROM copies, members",
        ):
            await unit.session.execute(text(statement))
    for _ in range(2):
        await asked(committed)
    async with committed.writing() as unit:
        claims = await transitions.hand_out(unit.session, 2, room=2)
    jobs = {tell_overdue.name: tell_overdue}
    ended = await asyncio.gather(*(perform(committed, jobs, claim) for claim in claims))
    assert ended == [(tell_overdue.name, "done")] * 2
    subjects = [subject for subject, _ in await told(committed)]
    assert len(subjects) == len(set(subjects)) == 50


async def test_a_copy_that_nobody_fetched_is_passed_on(database: Bound, run_jobs: RunJobs) -> None:
    past = datetime.datetime.now(datetime.UTC) - A_DAY
    books = [await BookFactory.create() for _ in range(2)]
    copies = [await CopyFactory.create(book=book, status="set_aside") for book in books]
    lapsed = [
        await HoldFactory.create(book=book, copy_id=copy.id, status="ready", expires_at=past)
        for book, copy in zip(books, copies, strict=True)
    ]
    other = await CopyFactory.create(status="set_aside")
    ready = await HoldFactory.create(copy_id=other.id, status="ready", expires_at=past + 2 * A_DAY)
    waiting = await HoldFactory.create(book=books[0])
    async with database.writing():
        await enqueue(expire_holds)
    assert [ran.outcome for ran in await run_jobs()] == ["done"]
    async with database.reading() as session:
        holds = {hold.id: hold.status for hold in await session.scalars(select(Hold))}
        states = {copy.id: copy.status for copy in await session.scalars(select(Copy))}
        kinds = (await session.scalars(select(Event.kind).order_by(Event.id))).all()
    assert [holds[hold.id] for hold in lapsed] == ["expired", "expired"]
    assert (holds[ready.id], holds[waiting.id]) == ("ready", "ready")
    assert [states[copy.id] for copy in copies] == ["set_aside", "available"]
    assert sorted(kinds) == ["hold.expired", "hold.expired", "hold.ready"]


def test_what_is_done_without_being_asked_for() -> None:
    names = {schedule.job.name for schedule in schema.schedules()}
    assert {"loans.overdue", "holds.expire", "statistics.refresh", "statistics.recount"} <= names
