"""Slow questions: noticed, explained aside, written down, bounded, and never a value."""

from collections.abc import Sequence

import pytest
from httpx import AsyncClient
from sqlalchemy import select, text
from structlog.testing import capture_logs

from service.app import create_app
from service.db import Database, slow
from service.db.bound import Bound
from service.db.lease import Leases
from service.db.outline import Sent
from service.db.slow import SlowQuestion, SlowQuestions, slow_questions
from service.errors import Unavailable
from service.settings import Settings
from service.tables.books import Book
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of
from tests.fixtures.databases import settings_of
from tests.fixtures.statements import Queries
from tests.waiting import until

SECRET = "4711"
BY_KEY = Sent("SELECT * FROM books WHERE id = $1 AND title = 'secret'", [int(SECRET)])


async def rows(database: Database) -> Sequence[SlowQuestion]:
    """All that is remembered."""
    async with database.reading() as session:
        return await slow_questions(session)


def noted(*seconds: float, question: str = "id=", statement: Sent = BY_KEY) -> SlowQuestions:
    """A process that has noted a question."""
    made = SlowQuestions(0.1)
    for each in seconds:
        made.note("books", "pk_books", question, each, statement)
    return made


@pytest.fixture
async def warm(committed: Database) -> Leases:
    """Connections that read, one of them made."""
    async with committed.lease() as driver:
        await driver.execute("SELECT 1")
    return committed.reads


async def test_what_is_written_down(warm: Leases, committed: Database) -> None:
    held = noted(0.25, 0.75)
    await held.explain(warm)
    await held.flush(committed)
    (one,) = await rows(committed)
    assert (one.table, one.path, one.question, one.times) == ("books", "pk_books", "id=", 2)
    assert (one.longest_ms, one.total_ms) == (750, 1000)
    assert one.plan.splitlines()[1:] == ["  Index Cond: (id = ?::bigint)", "  Filter: (title = ?::text)"]
    assert SECRET not in str(one)
    assert "secret" not in str(one)


async def test_processes_and_flushes_add_up(database: Bound) -> None:
    for seconds in (0.5, 0.2):
        await noted(seconds).flush(database)
    (one,) = await rows(database)
    assert (one.times, one.longest_ms, one.total_ms) == (2, 500, 700)
    assert one.first_at < one.last_at or one.first_at == one.last_at


async def test_a_plan_outlives_flushes_without_one(warm: Leases, committed: Database) -> None:
    held = noted(0.2)
    await held.explain(warm)
    await held.flush(committed)
    await noted(0.3).flush(committed)
    (one,) = await rows(committed)
    assert one.plan.startswith("Index Scan using pk_books")


async def test_one_is_explained_once_in_a_while(warm: Leases, committed: Database, queries: Queries) -> None:
    held = noted(0.2, 0.2, 0.2)
    for _ in range(3):
        await held.explain(warm)
        await held.flush(committed)
        held.note("books", "pk_books", "id=", 0.2, Sent("SELECT 1"))
    (one,) = await rows(committed)
    assert one.plan.startswith("Index Scan"), "what was noted later wasn't explained"
    held._again = 0.0  # noqa: SLF001
    held.note("books", "pk_books", "id=", 0.2, Sent("SELECT 1"))
    held._noted.clear()  # noqa: SLF001
    held.note("books", "pk_books", "id=", 0.2, Sent("SELECT 1"))
    await held.explain(warm)
    await held.flush(committed)
    (one,) = await rows(committed)
    assert one.plan.startswith("Result")


async def test_nobody_waits_for_an_explanation(warm: Leases, committed: Database) -> None:
    """It takes a connection that nobody wants, or none; what waits is explained later."""
    held = noted(0.2)
    permits = [permit for _ in range(warm.gate.permits) if (permit := warm.gate.spare())]
    await held.explain(warm)
    await held.flush(committed)
    for permit in permits:
        permit.give_back()
    (one,) = await rows(committed)
    assert one.plan == ""
    await held.explain(warm)
    await held.flush(committed)
    (one,) = await rows(committed)
    assert (one.times, one.plan[:10]) == (1, "Index Scan")
    assert warm.gate.free == warm.gate.permits


async def test_what_cannot_be_explained_is_no_trouble(warm: Leases, committed: Database) -> None:
    held = noted(0.2, statement=Sent("SELECT * FROM nothing WHERE x = 'secret'"))
    await held.explain(warm)
    await held.flush(committed)
    (one,) = await rows(committed)
    assert one.plan == "it can't be explained: UndefinedTableError"
    assert warm.gate.free == warm.gate.permits
    async with committed.lease() as driver:
        assert await driver.fetchval("SELECT 1") == 1


async def test_what_is_noted_is_bounded(database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "NOTED_MOST", 10)
    monkeypatch.setattr(slow, "ROWS_MOST", 7)
    held = SlowQuestions(0.1)
    for number in range(30):
        held.note("books", "pk_books", f"column_{number}=" + "x" * 5000, 0.1 + number, BY_KEY)
    assert len(held._noted) == 10  # noqa: SLF001
    await held.flush(database)
    found = await rows(database)
    assert len(found) == 7
    assert max(len(one.question) for one in found) == slow.LENGTH_MOST
    assert {labels: numbers for _, labels, numbers in held.told()} == {("books", "pk_books"): [30]}, "all are counted"


async def test_what_is_slow_no_more_is_forgotten(database: Bound) -> None:
    await noted(0.2, question="old").flush(database)
    async with database.writing() as unit:
        await unit.session.execute(text("UPDATE shelfmark_slow_questions SET last_at = last_at - interval '31 days'"))
    await noted(0.2, question="new").flush(database)
    assert [one.question for one in await rows(database)] == ["new"]


async def test_a_database_that_is_away_loses_nothing(database: Bound, settings: Settings) -> None:
    away = create_app(settings_of("postgresql://u@127.0.0.1:1/x")).state.service.database
    held = noted(0.2, 0.4)
    with pytest.raises(Unavailable):
        await held.flush(away)
    held.note("books", "pk_books", "id=", 0.3, BY_KEY)
    await held.flush(database)
    (one,) = await rows(database)
    assert (one.times, one.longest_ms) == (3, 400)


async def test_a_running_service_notices_explains_and_writes_down(
    settings: Settings, committed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the question's own shape and path; a question that isn't slow is not noted."""
    monkeypatch.setattr(slow, "FLUSH_SECONDS", 0.02)
    book = await BookFactory.create()
    app = create_app(settings.model_copy(update={"slow_question_ms": 1}), committed)
    committed.slow.seconds = 1e-9
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get(f"/v1/books?author_id={book.author_id}&sort=-published_year")).status_code == 200

        async def explained() -> bool:
            return any(one.path == "ix_books_by_author" and one.plan for one in await rows(committed))

        await until(explained)
        found = {one.path: one for one in await rows(committed)}
        assert found["ix_books_by_author"].question == "author_id= & sort=-published_year"
        assert "ix_books_by_author" in found["ix_books_by_author"].plan
        committed.slow.seconds = 60.0
        await client.get("/v1/books?limit=1")
        assert "shelfmark_questions_slow_total" in (await client.get("/metrics")).text
    assert {one.path for one in await rows(committed)} == {"ix_books_by_author"}


async def test_what_was_noted_last_is_written_at_the_end(settings: Settings, committed: Database) -> None:
    app = create_app(settings.model_copy(update={"slow_question_ms": 1}), committed)
    async with app.router.lifespan_context(app):
        committed.slow.note("books", "pk_books", "id=", 0.5, BY_KEY)
    assert [one.question for one in await rows(committed)] == ["id="]


async def test_a_search_that_was_stopped_is_slow_too(settings: Settings, committed: Database, client: AsyncClient) -> None:
    """The statement timeout ends it; it has taken that long all the same, and its pattern is kept nowhere."""
    app = create_app(settings.model_copy(update={"slow_question_ms": 1}), committed)
    committed.slow.seconds = 1e-9
    async with committed.lease() as driver:
        await driver.execute("SELECT 1")
    async with client_of(app) as caller:
        await caller.get("/v1/books", params={"title__icontains": "secretive"})
    await committed.slow.explain(committed.reads)
    await committed.slow.flush(committed)
    (one,) = await rows(committed)
    assert one.question == "title__icontains="
    assert one.plan
    assert "secretive" not in str(one)


async def test_zero_turns_it_off(settings: Settings, committed: Database) -> None:
    app = create_app(settings.model_copy(update={"slow_question_ms": 0}), committed)
    assert committed.slow.seconds == float("inf")
    with capture_logs() as logs:
        async with app.router.lifespan_context(app), client_of(app) as client:
            await client.get("/v1/books")
    assert list(committed.slow.told()) == []
    assert [line for line in logs if "slow" in line["event"]] == []


def test_a_question_of_sqlalchemys_own_may_be_slow_twice() -> None:
    """A clause is neither true nor false, and is noted all the same."""
    noted = SlowQuestions(0.1)
    for _ in range(2):
        noted.note("books", "pk_books", "id=", 0.2, select(Book).where(Book.id == 1))
    assert [times for _, _, (times,) in noted.told()] == [2]
