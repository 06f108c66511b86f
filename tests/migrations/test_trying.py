"""A migration that doesn't get its locks: rolled back whole, tried again, and given up with a sentence."""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from service.errors import SetupError
from service.settings import Settings
from tests.fixtures.processes import until
from tests.migrations.conftest import Sql
from tests.migrations.standalone import Bystander, Standalone

PATIENT = Settings(migration_lock_timeout_ms=700, migration_lock_seconds=60)
BRIEF = Settings(migration_lock_timeout_ms=700, migration_lock_seconds=1)
COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = 'books'::regclass AND attnum > 1"
# Wait until the reader of books waits for authors, or is gone.
MEET = """
DO $$ BEGIN
  WHILE EXISTS (SELECT FROM pg_locks WHERE relation = 'books'::regclass AND pid <> pg_backend_pid())
        AND NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'authors'::regclass AND NOT granted) LOOP
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$
"""
STAMPED = "SELECT version_num FROM alembic_version"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """For a migration that has to wait while the test goes on."""
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def reader(standalone: Standalone, other: Bystander) -> Bystander:
    """Somebody whose transaction has read the table that the next migrations change."""
    standalone.revise("first", *(f"op.execute('CREATE TABLE {name} (id int)')" for name in ("books", "authors")))
    standalone.upgrade(PATIENT)
    other.does("BEGIN")
    other.does("SELECT * FROM books")
    return other


def stopped(caplog: pytest.LogCaptureFixture, done: "Future[None]") -> list[str]:
    """Wait until a migration was stopped; what was said of it."""
    until(lambda: done.done() or any("It is tried again in" in line for line in caplog.messages))
    return [line for line in caplog.messages if "It is tried again in" in line]


def test_it_is_tried_again_until_the_others_have_ended(
    standalone: Standalone, reader: Bystander, pool: ThreadPoolExecutor, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    standalone.revise("second", "op.execute('CREATE TABLE before ()')", "op.add_column('books', sa.Column('year', sa.Integer()))")
    done = pool.submit(standalone.upgrade, PATIENT)
    line = stopped(caplog, done)[0]
    assert sql("SELECT to_regclass('before') AS it") == [(None,)]
    reader.does("COMMIT")
    done.result(30)
    assert line.startswith("The migration second (second) was stopped and rolled back, as it did not get a lock in time: ")
    assert f"AccessExclusiveLock on books, held by process {reader.process} of PostgreSQL (bystander" in line
    assert "SELECT * FROM books" in line
    assert sql(COLUMNS) == [("year",)]
    assert sql(STAMPED) == [("second",)]


def test_it_is_given_up_with_a_sentence(standalone: Standalone, reader: Bystander, sql: Sql) -> None:
    standalone.revise("second", "op.execute('CREATE TABLE whole ()')")
    standalone.revise("third", "op.execute('CREATE TABLE half ()')", "op.execute('DROP TABLE books')")
    with pytest.raises(SetupError, match=r"The migration third \(third\) was tried [23] times") as refused:
        standalone.upgrade(BRIEF)
    assert f"held by process {reader.process} of PostgreSQL" in str(refused.value)
    assert "SHELFMARK_MIGRATION_LOCK_SECONDS" in str(refused.value)
    assert sql("SELECT to_regclass('whole')::text AS a, to_regclass('half')::text AS b") == [("whole", None)]
    assert sql(STAMPED) == [("second",)]


def test_two_steps_stay_two_steps(
    standalone: Standalone, reader: Bystander, pool: ThreadPoolExecutor, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    standalone.revise("second", "op.execute('CREATE TABLE a ()')")
    standalone.revise("third", "op.execute('DROP TABLE books')")
    standalone.revise("fourth", "op.execute('CREATE TABLE b ()')")
    done = pool.submit(standalone.upgrade, PATIENT, "+2")
    stopped(caplog, done)
    assert sql(STAMPED) == [("second",)]
    reader.does("COMMIT")
    done.result(30)
    assert sql(STAMPED) == [("third",)]


def test_two_that_wait_for_each_other(
    standalone: Standalone, reader: Bystander, pool: ThreadPoolExecutor, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    quick = "op.execute(\"SET LOCAL deadlock_timeout = '20ms'\")"  # whoever looks first is the one that is stopped
    meet = f"op.execute({MEET!r})"
    standalone.revise("second", quick, "op.execute('LOCK TABLE authors')", meet, "op.execute('DROP TABLE books')")
    done = pool.submit(standalone.upgrade, PATIENT)
    until(lambda: done.done() or len(sql("SELECT FROM pg_locks WHERE relation = 'authors'::regclass")) == 1)
    theirs = reader.begins("SELECT * FROM authors")
    line = stopped(caplog, done)[0]
    theirs.result(30)
    reader.does("COMMIT")
    done.result(30)
    assert "as it and another transaction waited for each other" in line
    assert sql(STAMPED) == [("second",)]


def test_what_else_goes_wrong_goes_wrong_once(standalone: Standalone, caplog: pytest.LogCaptureFixture) -> None:
    standalone.revise("first", "op.execute('SELECT 1 / 0')")
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match="division by zero"):
        standalone.upgrade(PATIENT)
    assert caplog.messages == []
