"""A question whose index is away is refused, within a refresh, while all others go on; it is answered again when it is back."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from alembic.migration import MigrationContext
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.app import create_app
from service.contract.served import served
from service.db import Database
from service.db.bound import Bound
from service.db.catalogue import DROPPING, REFRESH_SECONDS
from service.migrations import building
from service.migrations.places import Place
from service.migrations.running import new_engine
from service.settings import Settings
from service.tables.books import router as books_router
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.loans import LoanFactory
from tests.fixtures.application import client_of
from tests.fixtures.statements import Queries, told
from tests.http.conftest import refused
from tests.waiting import LATE_SECONDS

BY_AUTHOR = "books (author_id, published_year DESC NULLS LAST, id DESC)"
BOOKS = 50_000
CLIENTS = 4
SLACK_SECONDS = LATE_SECONDS
"""What a busy machine may take beyond a refresh."""
FILLED = f"""
INSERT INTO authors (name) SELECT 'Author ' || n FROM generate_series(1, 500) n;
INSERT INTO books (author_id, title, published_year)
SELECT 1 + n % 500, 'Title ' || n, 1900 + n % 120 FROM generate_series(1, {BOOKS}) n;
ANALYZE authors, books
"""
TOUCHED = text("""
SELECT t.seq_scan, t.seq_tup_read, (SELECT sum(i.idx_scan) FROM pg_stat_user_indexes i WHERE i.relid = t.relid) AS idx_scan
FROM pg_stat_user_tables t WHERE t.relname = 'books'
""")


async def changed(app: FastAPI, database: Database, *statements: str) -> None:
    """Change the database as someone from outside would, and let the service look."""
    async with database.writing() as unit:
        for statement in statements:
            await unit.session.execute(text(statement))
    await app.state.service.database.catalogue.refresh(database)


async def test_the_problem_names_the_path_the_reason_and_the_line(
    app: FastAPI, client: AsyncClient, database: Bound, queries: Queries
) -> None:
    await changed(app, database, "DROP INDEX ix_books_by_author")
    queries.clear()
    answer = await client.get("/v1/books", params={"author_id": 1})
    problem = refused(answer, 503, "index-not-ready")
    assert answer.headers["retry-after"] == "2"
    assert (problem["path"], problem["reason"]) == ("ix_books_by_author", "missing")
    assert problem["index"] == 'Index("ix_books_by_author", author_id, published_year.desc().nulls_last(), id.desc())'
    assert "shelfmark migrate" in problem["detail"]
    assert len(queries) == 0


async def test_all_else_is_answered(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    book = await BookFactory.create(isbn13="9780000000002")
    await changed(app, database, "DROP INDEX ix_books_by_author")
    for asked in ("", "?language=eng&sort=-ratings_count", "?isbn13=9780000000002", f"/{book.id}", "?sort=id&include=author"):
        assert (await client.get(f"/v1/books{asked}")).status_code == 200, asked
    refused(await client.get("/v1/books?author_id=1&language=eng"), 400, "not-served")


async def test_a_search_and_one_row_are_refused_likewise(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    book = await BookFactory.create()
    await changed(app, database, "DROP INDEX ix_books_search_title", "ALTER TABLE books DROP CONSTRAINT pk_books CASCADE")
    search = refused(await client.get("/v1/books?title__icontains=shelf"), 503, "index-not-ready")
    assert search["path"] == "ix_books_search_title"
    for one in (f"/{book.id}", f"?id={book.id}", f"?id__in={book.id}"):
        problem = refused(await client.get(f"/v1/books{one}"), 503, "index-not-ready")
        assert (problem["path"], problem["index"]) == ("pk_books", None)
    refused(await client.patch(f"/v1/books/{book.id}", json={"title": "New"}), 503, "index-not-ready")
    refused(await client.delete(f"/v1/books/{book.id}"), 503, "index-not-ready")
    refused(await client.get(f"/v1/books/{book.id}/beside"), 503, "index-not-ready")


async def test_a_row_is_not_deleted_where_that_would_scan(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    book, lent = await BookFactory.create(), await CopyFactory.create()
    await changed(app, database, "DROP INDEX ix_holds_of_book")
    problem = refused(await client.delete(f"/v1/books/{book.id}"), 503, "index-not-ready")
    assert problem["path"] == "ix_holds_of_book"
    assert "index" not in problem, "the line is another table's, whose columns may be hidden"
    assert (await client.delete(f"/v1/copies/{lent.id}")).status_code == 204


async def test_a_cursor_goes_on_when_the_index_is_back(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    author = await AuthorFactory.create()
    made = await BookFactory.create_batch(3, author=author)
    asked: dict[str, Any] = {"author_id": author.id, "limit": 2}
    cursor = (await client.get("/v1/books", params=asked)).json()["next"]
    await changed(app, database, f"ALTER INDEX ix_books_by_author RENAME TO {DROPPING}1")
    problem = refused(await client.get("/v1/books", params=asked | {"cursor": cursor}), 503, "index-not-ready")
    assert problem["reason"] == "dropping"
    await changed(app, database, f"CREATE INDEX another ON {BY_AUTHOR}")
    rest = (await client.get("/v1/books", params=asked | {"cursor": cursor})).json()["data"]
    assert [row["id"] for row in rest] == [made[0].id]


async def test_the_contract_says_what_is_not_ready(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    questions = (await client.get("/v1/books:contract")).json()["questions"]
    assert all(one["ready"] for one in questions)
    await changed(app, database, "DROP INDEX ix_books_by_author", "DROP INDEX ix_books_search_title", "DROP INDEX uq_books_source")
    questions = (await client.get("/v1/books:contract")).json()["questions"]
    gone = {"ix_books_by_author", "ix_books_search_title", "uq_books_source"}
    assert {one["index"] for one in questions if not one["ready"]} == gone
    assert all(one["ready"] == (one["index"] not in gone) for one in questions)
    assert len(questions) == len(served(books_router.table.of.contract))


async def test_readiness_lists_it_and_stays(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    await changed(app, database, "DROP INDEX ix_books_by_author")
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["degraded"] == [
        (
            "ix_books_by_author of books is withdrawn: the database has no such index. Run `shelfmark migrate`; if that has "
            "nothing to do, `shelfmark indexes check` shows what mends it."
        ),
    ]


@pytest.mark.parametrize(
    ("index", "act"),
    [
        ("ix_loans_open_of_member", "POST /v1/loans"),
        ("uq_holds_ready", "POST /v1/loans"),
        ("ix_copies_of_book", "POST /v1/loans"),
        ("ix_holds_queue", "GET /v1/books/{book}/availability"),
        ("uq_loans_open_of_copy", "GET /v1/books/{book}/availability"),
        ("uq_holds_waiting", "POST /v1/holds"),
        ("ix_holds_queue", "POST /v1/loans/{loan}:return"),
    ],
)
async def test_the_acts_of_lending_do_not_scan_either(
    app: FastAPI, client: AsyncClient, database: Bound, index: str, act: str
) -> None:
    lent, free = await LoanFactory.create(), await CopyFactory.create()
    body = {"member_id": lent.member_id, "book_id": free.book_id}
    method, path = act.format(book=free.book_id, loan=lent.id).split()
    await changed(app, database, f"DROP INDEX {index}")
    answer = await client.request(method, path, json=body if path in {"/v1/loans", "/v1/holds"} else None)
    assert refused(answer, 503, "index-not-ready")["path"] == index


class Load:
    """Clients that ask the same thing again and again, and what they were answered, with the time."""

    def __init__(self, client: AsyncClient, path: str) -> None:
        self.client, self.path = client, path
        self.answers: list[tuple[float, int, dict[str, Any]]] = []
        self.headers: list[str | None] = []

    async def go_on(self, number: int) -> None:
        """Ask, until cancelled."""
        while True:
            answer = await self.client.get(self.path.format(1 + number % 500))
            self.answers.append((time.monotonic(), answer.status_code, answer.json() if answer.status_code != 200 else {}))
            self.headers.append(answer.headers.get("retry-after"))
            number += CLIENTS
            await asyncio.sleep(0)

    def since(self, moment: float) -> Counter[int]:
        """The statuses of what was answered after a moment."""
        return Counter(status for at, status, _ in self.answers if at > moment)

    async def until(self, status: int, reason: str | None = None) -> float:
        """Wait for the next such answer; the seconds it took."""
        began, seen = time.monotonic(), len(self.answers)
        async with asyncio.timeout(30):
            while not any(found == status and problem.get("reason") == reason for _, found, problem in self.answers[seen:]):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return time.monotonic() - began


@asynccontextmanager
async def asking(*loads: Load) -> AsyncIterator[None]:
    """Several clients for each load, for as long as the block lasts."""
    tasks = [asyncio.create_task(load.go_on(number)) for load in loads for number in range(CLIENTS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [left for left in ended if not isinstance(left, asyncio.CancelledError)]


class Outside:
    """A database of many books, with the service over it and someone beside it."""

    def __init__(self, database: Database, engine: AsyncEngine) -> None:
        self.database, self.engine = database, engine
        self.sent: list[tuple[float, str]] = []

    def record(self, statement: str, _values: Any) -> None:
        """Remember a statement."""
        self.sent.append((time.monotonic(), statement))

    def asked_by_author(self, since: float) -> int:
        """How many statements went to the database for what only the index on the author serves."""
        return sum(at > since and "books.author_id = " in statement for at, statement in self.sent)

    async def run(self, *statements: str) -> None:
        """Each by itself, committed."""
        async with self.engine.connect() as made:
            connection = await made.execution_options(isolation_level="AUTOCOMMIT")
            for statement in statements:
                await connection.exec_driver_sql(statement)

    async def touched(self) -> Sequence[Any]:
        """How often books were scanned and indexes of theirs read. Connections tell when they end."""
        await self.database.reads.engine.dispose()
        async with self.engine.connect() as connection:
            before = None
            while True:
                await asyncio.sleep(0.1)
                await connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
                found = tuple((await connection.execute(TOUCHED)).one())
                if found == before:
                    return found
                before = found


@pytest.fixture
async def outside(own_database: str, settings: Settings) -> AsyncIterator[Outside]:
    database, engine = Database.connect(own_database, settings), new_engine(own_database)
    made = Outside(database, engine)
    await made.run(*FILLED.split(";"))
    with told(database.reads.engine, made.record):
        yield made
    await database.close()
    await engine.dispose()


async def test_scans_stop_within_a_refresh_and_the_question_is_back_with_its_index(outside: Outside, settings: Settings) -> None:
    app = create_app(settings, outside.database)
    async with app.router.lifespan_context(app), client_of(app) as client:
        by_author, by_key = Load(client, "/v1/books?author_id={}&limit=5"), Load(client, "/v1/books/{}")
        async with asking(by_author, by_key):
            await by_author.until(200)
            await outside.run("DROP INDEX ix_books_by_author")
            took = await by_author.until(503, "missing")
            withdrawn = time.monotonic()
            assert took < REFRESH_SECONDS + SLACK_SECONDS
            await asyncio.sleep(REFRESH_SECONDS)  # a while in which nothing may be asked
            assert outside.asked_by_author(since=0) > 0
            assert outside.asked_by_author(since=withdrawn) == 0
            assert by_author.since(withdrawn)[200] <= CLIENTS, "what was under way then"
            assert set(by_author.since(withdrawn)) <= {200, 503}
            assert set(by_author.headers[-10:]) == {"2"}
            assert by_author.since(withdrawn)[503] > CLIENTS

            async with outside.engine.connect() as writer:
                await writer.exec_driver_sql("UPDATE books SET title = 'held' WHERE id = 1")
                building = asyncio.create_task(outside.run(f"CREATE INDEX CONCURRENTLY ix_books_by_author ON {BY_AUTHOR}"))
                await by_author.until(503, "invalid")
                assert not building.done()
                assert outside.asked_by_author(since=withdrawn) == 0
                await writer.rollback()
            await building
            assert await by_author.until(200) < REFRESH_SECONDS + SLACK_SECONDS
        assert set(by_key.since(0)) == {200}


async def test_the_table_is_not_touched_any_more(outside: Outside, settings: Settings) -> None:
    app = create_app(settings, outside.database)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await outside.run("DROP INDEX ix_books_by_author")
        by_author = Load(client, "/v1/books?author_id={}&limit=5")
        async with asking(by_author):
            await by_author.until(503, "missing")
        scanned = await outside.touched()
        async with asking(by_author):
            await asyncio.sleep(REFRESH_SECONDS)
        after = await outside.touched()
    assert scanned == after


async def test_our_own_migrations_withdraw_a_path_before_they_drop_its_index(outside: Outside, settings: Settings) -> None:
    def migrate(connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with context.begin_transaction(_per_migration=True):
            building.remove(context, Place("books"), "ix_books_by_author")

    app = create_app(settings, outside.database)
    async with app.router.lifespan_context(app), client_of(app) as client:
        by_author = Load(client, "/v1/books?author_id={}&limit=5")
        (seq_scans, *_) = await outside.touched()
        async with asking(by_author):
            await by_author.until(200)
            async with outside.engine.connect() as connection:
                await connection.run_sync(migrate)
            await by_author.until(503, "missing")
        assert "dropping" in {problem.get("reason") for _, _, problem in by_author.answers}
        assert (await outside.touched())[0] == seq_scans, "not one question met a table without its index"
