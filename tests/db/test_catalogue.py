"""A path whose index the database doesn't have, whole and as declared, is withdrawn; and it is back when its index is."""

import asyncio
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Identity, Index, Integer, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column
from structlog.testing import capture_logs

from service import schema
from service.contract.choose import choose
from service.contract.question import Question, Sort
from service.db import Database, surface
from service.db.bound import Bound
from service.db.catalogue import DROPPING, RECORD, REFRESH_SECONDS, Catalogue, fingerprint, keepers, name_of
from service.db.engine import writing_engine
from service.db.judging import Withdrawn
from service.db.model import NAMES, table_of
from service.errors import IndexNotReady, NotFound
from service.settings import Settings
from service.tables.books import Book, Books
from service.tables.holds import Hold
from tests.db.kinds import Apart
from tests.factories.books import BookFactory
from tests.fixtures.statements import Queries
from tests.waiting import LATE_SECONDS

# ruff: noqa: A003  # a table's key is called id

BY_AUTHOR = "(author_id, published_year DESC NULLS LAST, id DESC)"
BOOKS = surface(Book).contract
Call = Callable[[], Awaitable[Any]]


class Tree(Apart):
    """A table that another one refers to."""

    __tablename__ = "test_trees"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)


class Leaf(Apart):
    """A table that refers to it, by a column that leads two indexes."""

    __tablename__ = "test_leaves"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    tree_id: Mapped[int] = mapped_column(ForeignKey("test_trees.id"))

    one = Index("ix_test_leaves_one", tree_id)
    two = Index("ix_test_leaves_two", tree_id, id)


@pytest.fixture
async def catalogue(database: Bound) -> Catalogue:
    """What the transactional database is seen to have."""
    database.catalogue = Catalogue(schema.models())
    await database.catalogue.refresh(database)
    return database.catalogue


async def run(database: Database, *statements: str) -> None:
    """Change the database, and look."""
    async with database.writing() as unit:
        for statement in statements:
            await unit.session.execute(text(statement))
    await database.catalogue.refresh(database)


def reasons(catalogue: Catalogue) -> dict[str, str]:
    """Path -> why it is withdrawn."""
    return {path: found.reason for (_, path), found in catalogue.withdrawn.items()}


async def test_a_migrated_database_has_all_of_them(catalogue: Catalogue) -> None:
    assert catalogue.withdrawn == {}
    for model in schema.models():
        contract = surface(model).contract
        assert catalogue.available(contract) is contract


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["DROP INDEX ix_books_by_author"], "missing"),
        (["DROP INDEX ix_books_by_author", f"CREATE INDEX ix_books_by_author ON books {BY_AUTHOR} WHERE id > 0"], "different"),
        (["DROP INDEX ix_books_by_author", "CREATE INDEX ix_books_by_author ON books (author_id, id DESC)"], "different"),
        (["DROP INDEX ix_books_by_author", "CREATE INDEX ix_books_by_author ON authors (id)"], "missing"),
        ([f"ALTER INDEX ix_books_by_author RENAME TO {DROPPING}1a2b"], "dropping"),
        ([f"DELETE FROM {RECORD} WHERE index_name = 'ix_books_by_author'"], "unrecorded"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given[-1].split()[:2]),
)  # fmt: skip
async def test_a_path_is_withdrawn(catalogue: Catalogue, database: Bound, statements: list[str], reason: str) -> None:
    await run(database, *statements)
    assert reasons(catalogue) == {"ix_books_by_author": reason}
    left = catalogue.available(BOOKS)
    assert {path.name for path in BOOKS.paths} - {path.name for path in left.paths} == {"ix_books_by_author"}
    assert left is catalogue.available(BOOKS)


@pytest.mark.parametrize(
    "statements",
    [
        ["ALTER INDEX ix_books_by_author RENAME TO other"],
        ["DROP INDEX ix_books_by_author", f"CREATE INDEX other ON books {BY_AUTHOR}"],
        ["ALTER INDEX ix_books_by_author SET (fillfactor = 70)"],
        [f"ALTER INDEX ix_books_by_author RENAME TO {DROPPING}1", f"CREATE INDEX ix_books_by_author ON books {BY_AUTHOR}"],
        ["ALTER TABLE books DROP CONSTRAINT pk_books CASCADE", "CREATE UNIQUE INDEX by_hand ON books (id)"],
        ["CREATE INDEX another ON books (title)", "CREATE TABLE others (id int PRIMARY KEY)"],
    ],
    ids=lambda given: " ".join(given[-1].split()[:5]),
)
async def test_what_an_index_is_counts_and_not_its_name(catalogue: Catalogue, database: Bound, statements: list[str]) -> None:
    await run(database, *statements)
    assert catalogue.withdrawn == {}


async def test_a_unique_index_is_not_replaced_by_one_that_is_none(catalogue: Catalogue, database: Bound) -> None:
    await run(database, "DROP INDEX uq_books_isbn13", "CREATE INDEX uq_books_isbn13 ON books (isbn13)")
    assert reasons(catalogue) == {"uq_books_isbn13": "different"}


async def test_a_search_is_withdrawn_like_a_list(catalogue: Catalogue, database: Bound) -> None:
    await run(database, "DROP INDEX ix_books_search_title")
    left = catalogue.available(BOOKS)
    assert {path.name for path in BOOKS.searches} - {path.name for path in left.searches} == {"ix_books_search_title"}
    with pytest.raises(IndexNotReady):
        await Books(database).search(Book.search_title, "shelf")


async def test_it_is_back_when_its_index_is(catalogue: Catalogue, database: Bound) -> None:
    with capture_logs() as logs:
        await run(database, "DROP INDEX ix_books_by_author")
        await catalogue.refresh(database)
        await run(database, f"CREATE INDEX ix_books_by_author ON books {BY_AUTHOR}")
        await catalogue.refresh(database)
    assert catalogue.available(BOOKS) is BOOKS
    assert [(line["event"], line["paths"], line.get("reason")) for line in logs] == [
        ("paths are withdrawn", ["ix_books_by_author"], "missing"),
        ("paths are served again", ["ix_books_by_author"], None),
    ]
    assert "shelfmark migrate" in logs[0]["hint"]


async def test_what_is_left_follows_each_change(catalogue: Catalogue, database: Bound) -> None:
    whole = {path.name for path in BOOKS.paths}
    for gone in ("ix_books_by_author", "ix_books_newest"):
        await run(database, f"DROP INDEX {gone}")
        whole.remove(gone)
        assert {path.name for path in catalogue.available(BOOKS).paths} == whole


async def test_another_reason_is_told(catalogue: Catalogue, database: Bound) -> None:
    await run(database, "DROP INDEX ix_books_by_author")
    with capture_logs() as logs:
        await run(database, "CREATE INDEX ix_books_by_author ON books (id)")
    assert [(line["event"], line["reason"]) for line in logs] == [("paths are withdrawn", "different")]


async def test_of_two_records_of_one_index_the_later_counts(catalogue: Catalogue, database: Bound) -> None:
    old = f"""
    INSERT INTO {RECORD} SELECT fingerprint, 'old_name', table_schema, table_name, is_unique, 'btree (title)', model, server,
      recorded_at - interval '1 day' FROM {RECORD} WHERE index_name = 'ix_books_by_author'
    """
    await run(database, old)
    assert catalogue.withdrawn == {}
    await run(database, f"UPDATE {RECORD} SET recorded_at = recorded_at + interval '2 days' WHERE index_name = 'old_name'")
    assert reasons(catalogue) == {"ix_books_by_author": "different"}


async def test_without_the_record_nothing_is_proven(catalogue: Catalogue, database: Bound) -> None:
    with capture_logs() as logs:
        await run(database, f"ALTER TABLE {RECORD} RENAME TO elsewhere")
    assert set(reasons(catalogue).values()) == {"unreadable"}
    assert len(catalogue.withdrawn) == sum(len(keepers(table_of(model))) for model in schema.models())
    assert len(logs) == 1
    await run(database, f"ALTER TABLE elsewhere RENAME TO {RECORD}")
    assert catalogue.withdrawn == {}


async def test_a_role_that_may_not_read_the_record_is_told_so(catalogue: Catalogue, database: Bound) -> None:
    await run(database, "CREATE ROLE test_reader", f"REVOKE SELECT ON {RECORD} FROM PUBLIC", "SET LOCAL ROLE test_reader")
    (said,) = {str(found).partition(": ")[2] for found in catalogue.withdrawn.values()}
    assert "GRANT SELECT ON shelfmark_indexes" in said


async def test_it_is_read_by_a_role_without_any_right(catalogue: Catalogue, database: Bound) -> None:
    await run(database, "CREATE ROLE test_reader", "SET LOCAL ROLE test_reader", "SET LOCAL transaction_read_only = on")
    assert catalogue.withdrawn == {}


async def test_a_database_that_is_away_changes_nothing(catalogue: Catalogue, database: Bound, settings: Settings) -> None:
    await run(database, "DROP INDEX ix_books_by_author")
    away = Database.connect("postgresql+asyncpg://u@127.0.0.1:1/x", settings)
    with pytest.raises(Exception, match="can't be reached"):
        await catalogue.refresh(away)
    assert reasons(catalogue) == {"ix_books_by_author": "missing"}
    with capture_logs() as logs:
        async with catalogue.watching(away):
            await asyncio.sleep(REFRESH_SECONDS * 2.5)  # several looks
            assert reasons(catalogue) == {"ix_books_by_author": "missing"}
    assert [line["event"] for line in logs] == ["the indexes of the database can't be looked at; what was seen last stays"] * 2
    await away.close()


async def test_before_the_first_look_nothing_is_withdrawn(database: Bound) -> None:
    assert Catalogue(schema.models()).available(BOOKS) is BOOKS
    Catalogue().check("books", "ix_books_by_author")


async def test_a_catalogue_of_nothing_asks_nothing(database: Bound, queries: Queries) -> None:
    await Catalogue().refresh(database)
    assert len(queries) == 0


async def test_another_path_takes_over(catalogue: Catalogue, database: Bound) -> None:
    """Between two paths that serve the same question, the name decides, and then what there is."""
    author = BOOKS.paths[[path.name for path in BOOKS.paths].index("ix_books_by_author")]
    both = replace(BOOKS, paths=(*BOOKS.paths, replace(author, name="ix_books_by_author_too")))
    question = Question({"author_id": 1})
    await run(database, "DROP INDEX ix_books_by_author")
    chosen = [choose(contract, question) for contract in (both, catalogue.available(both), catalogue.available(BOOKS))]
    assert [choice and choice.path.name for choice in chosen] == ["ix_books_by_author", "ix_books_by_author_too", None]


async def test_queries_of_the_code_are_refused_and_not_sent(catalogue: Catalogue, database: Bound, queries: Queries) -> None:
    book = await BookFactory.create()
    await run(database, "DROP INDEX ix_books_by_author", "DROP INDEX uq_books_isbn13", "DROP INDEX uq_books_source")
    books, question = Books(database), Question({"author_id": book.author_id}, sort=(Sort("published_year", descending=True),))
    choice = choose(BOOKS, question)
    assert choice
    queries.clear()
    calls: list[tuple[Call, str]] = [
        (lambda: books.page(Book.by_author, author_id=book.author_id), "ix_books_by_author"),
        (lambda: books.ask(question, choice, 5), "ix_books_by_author"),
        (lambda: books.count(question, choice, 5), "ix_books_by_author"),
        (lambda: books.estimate(question, choice), "ix_books_by_author"),
        (lambda: books.one(Book.unique_isbn, isbn13="9780000000002"), "uq_books_isbn13"),
        (lambda: books.upsert([{"source": "a", "source_key": "b", "title": "c"}], Book.unique_source), "uq_books_source"),
    ]
    for asked, path in calls:
        with pytest.raises(IndexNotReady, match=path) as refused:
            await asked()
        assert (refused.value.extra["path"], refused.value.extra["reason"]) == (path, "missing")
    assert len(queries) == 0, str(queries)
    assert (await books.get(book.id)).id == book.id


async def test_without_a_primary_key_no_row_is_looked_for(catalogue: Catalogue, database: Bound, queries: Queries) -> None:
    book = await BookFactory.create()
    await run(database, "ALTER TABLE books DROP CONSTRAINT pk_books CASCADE")
    books = Books(database)
    queries.clear()
    calls: list[Call] = [
        lambda: books.get(book.id),
        lambda: books.many([book.id]),
        lambda: books.change(book.id, title="New"),
        lambda: books.delete(book.id),
    ]
    for asked in calls:
        with pytest.raises(IndexNotReady, match="pk_books"):
            await asked()
    assert len(queries) == 0, str(queries)


async def test_without_the_index_of_a_foreign_key_no_row_is_deleted(
    catalogue: Catalogue, database: Bound, queries: Queries
) -> None:
    book = await BookFactory.create()
    await run(database, "DROP INDEX ix_copies_of_book")
    queries.clear()
    with pytest.raises(IndexNotReady, match="ix_copies_of_book of copies"):
        await Books(database).delete(book.id)
    assert len(queries) == 0, str(queries)
    await run(
        database, "CREATE INDEX other ON copies (book_id, status, id) INCLUDE (branch, shelfmark)", "DROP INDEX ix_books_newest"
    )
    await Books(database).delete(book.id)
    with pytest.raises(NotFound):
        await Books(database).get(book.id)


def test_one_of_two_indexes_of_a_foreign_key_is_enough() -> None:
    catalogue, gone = Catalogue(), Withdrawn("test_leaves", "ix_test_leaves_one", "missing")
    catalogue.withdrawn = {("test_leaves", gone.path): gone}
    catalogue.need_to_delete(Tree)
    catalogue.withdrawn = {("test_leaves", path): gone for path in (gone.path, "ix_test_leaves_two")}
    with pytest.raises(IndexNotReady, match="ix_test_leaves_one"):
        catalogue.need_to_delete(Tree)


async def test_a_query_of_ones_own_says_what_it_rides(catalogue: Catalogue, database: Bound) -> None:
    await run(database, "DROP INDEX ix_holds_queue")
    books = Books(database)
    books.rides(Hold.of_book, Book.by_author, table_of(Book).primary_key)
    with pytest.raises(IndexNotReady, match="ix_holds_queue of holds"):
        books.rides(Hold.of_book, Hold.queue)


async def test_a_relation_is_not_looked_up_without_its_primary_key(catalogue: Catalogue, database: Bound, queries: Queries) -> None:
    await BookFactory.create()
    await run(database, "ALTER TABLE authors DROP CONSTRAINT pk_authors CASCADE")
    choice = choose(BOOKS, Question())
    assert choice
    queries.clear()
    with pytest.raises(IndexNotReady, match="pk_authors"):
        await Books(database).ask(Question(), choice, 5, include=(Book.author,))
    assert len(queries) == 0
    assert len(await Books(database).ask(Question(), choice, 5)) == 1


async def test_an_index_is_invalid_while_it_is_built_and_after_that_failed(own_database: str, settings: Settings) -> None:
    async with committing(own_database, settings) as (database, engine):
        await run(database, "DROP INDEX uq_books_isbn13", "INSERT INTO authors (name) VALUES ('a')")
        await run(database, *["INSERT INTO books (author_id, title, isbn13) VALUES (1, 'a', 'b')"] * 2)
        async with engine.connect() as made:
            outside = await made.execution_options(isolation_level="AUTOCOMMIT")
            with pytest.raises(Exception, match="could not create unique index"):
                await outside.exec_driver_sql("CREATE UNIQUE INDEX CONCURRENTLY uq_books_isbn13 ON books (isbn13)")
        await database.catalogue.refresh(database)
        assert reasons(database.catalogue) == {"uq_books_isbn13": "invalid"}


async def test_an_index_that_older_transactions_keep_postgresql_from_is_not_counted_on(
    own_database: str, settings: Settings
) -> None:
    """After an update that its columns didn't take part in, a plain CREATE INDEX isn't used by transactions from before."""
    async with committing(own_database, settings) as (database, engine):
        await run(database, "INSERT INTO authors (name) VALUES ('a')", "INSERT INTO books (author_id, title) VALUES (1, 'a')")
        await run(database, "DROP INDEX ix_books_by_author", "DROP INDEX ix_books_newest")
        async with engine.connect() as old:
            await old.exec_driver_sql("SELECT pg_current_xact_id()")
            await run(database, "UPDATE books SET published_year = 1999")
            await run(database, f"CREATE INDEX ix_books_by_author ON books {BY_AUTHOR}")
            assert reasons(database.catalogue) == {"ix_books_by_author": "young", "ix_books_newest": "missing"}
            await old.rollback()
        async with asyncio.timeout(30):  # other tests' transactions, in other databases, are older ones too
            while "ix_books_by_author" in reasons(database.catalogue):
                await run(database, "SELECT pg_current_xact_id()")
        assert reasons(database.catalogue) == {"ix_books_newest": "missing"}


async def test_the_watch_notices_within_a_refresh_and_ends(own_database: str, settings: Settings) -> None:
    async with committing(own_database, settings) as (database, engine):
        catalogue = database.catalogue
        async with catalogue.watching(database):
            async with engine.begin() as outside:
                await outside.exec_driver_sql("DROP INDEX ix_books_by_author")
            began = time.monotonic()
            while not catalogue.withdrawn:
                assert time.monotonic() - began < REFRESH_SECONDS + LATE_SECONDS
                await asyncio.sleep(0.01)
            assert "catalogue" in {task.get_name() for task in asyncio.all_tasks()}
        assert "catalogue" not in {task.get_name() for task in asyncio.all_tasks()}


def test_fingerprints_are_the_same_in_every_process() -> None:
    script = (
        "from service import schema\nfrom service.db.catalogue import *\n"
        "print([(n, fingerprint(k)) for t in schema.metadata().sorted_tables for n, k in keepers(t).items()])"
    )
    told = {
        subprocess.run([sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert "ix_books_by_author" in told.pop().decode()


def printed(name: str = "ix", *keys: str, table: str = "t", within: str | None = None, **options: Any) -> str:
    """The fingerprint of an index, on its first column unless it is said."""
    made = Table(table, MetaData(), Column("a", Integer), Column("b", Integer), schema=within)
    return fingerprint(Index(name, *(made.c[key] for key in keys or ("a",)), **options))


def test_a_fingerprint_tells_indexes_apart_but_not_their_names() -> None:
    assert printed() == printed("another") == printed("Quoted name")
    others = [
        printed("ix", "b"),
        printed("ix", "a", "b"),
        printed("ix", "b", "a"),
        printed(table="u"),
        printed(within="s"),
        printed(unique=True),
        printed(postgresql_where=text("a > 1")),
        printed(postgresql_where=text("a > 2")),
        printed(postgresql_include=["b"]),
        printed(postgresql_using="hash"),
        printed(postgresql_ops={"a": "int4_ops"}),
        printed(postgresql_with={"fillfactor": 70}),
    ]
    assert len({printed(), *others}) == 1 + len(others)


def test_constraints_have_fingerprints_too() -> None:
    made = Table("t", MetaData(), Column("a", Integer), PrimaryKeyConstraint("a", name="pk"), UniqueConstraint("a", name="uq"))
    found = {name: fingerprint(keeper) for name, keeper in keepers(made).items()}
    assert found.keys() == {"pk", "uq"}
    assert len(set(found.values())) == 2
    made.primary_key.name = "other"
    assert fingerprint(made.primary_key) == found["pk"]


def test_a_name_is_the_one_that_the_database_has() -> None:
    long = Table("t" * 40, MetaData(naming_convention=NAMES), Column("a" * 40, Integer, unique=True), Column("b", Integer))
    (shortened,) = map(name_of, keepers(long).values())
    assert len(shortened) <= 63 < len(str(next(iter(keepers(long)))))
    assert name_of(Index('A "name"', long.c.b)) == 'A "name"'


async def test_asking_costs_next_to_nothing_while_all_is_well(catalogue: Catalogue) -> None:
    times = 100_000
    for ask in (lambda: catalogue.available(BOOKS), lambda: catalogue.check("books", "pk_books")):
        assert min(timeit.repeat(ask, number=times, repeat=5)) / times < 1e-6


@asynccontextmanager
async def committing(url: str, settings: Settings) -> AsyncIterator[tuple[Database, AsyncEngine]]:
    """A database that really commits, with a catalogue; and an engine beside it."""
    database, engine = Database.connect(url, settings), writing_engine(url, settings)
    database.catalogue = Catalogue(schema.models())
    try:
        yield database, engine
    finally:
        await database.close()
        await engine.dispose()
