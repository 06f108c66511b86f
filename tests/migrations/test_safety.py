"""One migrator at a time: two deploys at once, a wait with an end, a pooler; and the time limits that hold meanwhile."""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from service.errors import SetupError
from service.migrations.running import new_engine
from service.migrations.safety import LOCK, alone, limited, refuse_pooler
from service.migrations.sessions import asked, process
from service.settings import Settings
from tests.fixtures.processes import until
from tests.migrations.conftest import Sql
from tests.migrations.standalone import Bystander, Standalone

HOLD = f"SELECT pg_advisory_lock({LOCK})"
HELD = f"""
SELECT count(*) AS n FROM pg_locks
WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = {LOCK}
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
SHOW = text("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")


def on_a_connection(url: str, work: Callable[[Connection], Any]) -> Any:
    """What a function of a connection gives."""

    async def connected() -> Any:
        engine = new_engine(url)
        async with engine.connect() as connection:
            found = await connection.run_sync(work)
        await engine.dispose()
        return found

    return asyncio.run(connected())


def test_of_two_at_once_one_works_one_waits_and_both_succeed(standalone: Standalone, other: Bystander, sql: Sql) -> None:
    standalone.revise("first", "op.create_table('books', sa.Column('year', sa.Integer()))")
    standalone.alembic("upgrade", "head")
    standalone.revise("second", "op.build_index('ix_books_year', 'books', 'btree (year)')")
    other.does("BEGIN")
    other.does("INSERT INTO books VALUES (1)")  # a build waits for this to end
    with standalone.beginning("upgrade", "head") as one:
        until(lambda: len(sql("SELECT FROM pg_stat_progress_create_index WHERE datname = current_database()")) == 1)
        with standalone.beginning("upgrade", "head") as two:
            two.until_said("Another migration of this database runs")
            other.does("COMMIT")
            assert (one.ended(30), two.ended(30)) == (0, 0), one.said() + two.said()
            assert "Running upgrade" not in two.said()
            assert "shelfmark migrate" in two.said()
            assert "CREATE INDEX CONCURRENTLY" in two.said()
    assert sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_books_year'::regclass") == [(True,)]
    assert standalone.alembic("current").out.strip() == "second (head)"


def test_two_that_begin_in_the_same_moment(standalone: Standalone, sql: Sql) -> None:
    standalone.revise("first", "op.execute('CREATE TABLE books ()')")
    with standalone.beginning("upgrade", "head") as one, standalone.beginning("upgrade", "head") as two:
        assert (one.ended(30), two.ended(30)) == (0, 0), one.said() + two.said()
        assert (one.said() + two.said()).count("Running upgrade  -> first") == 1
    assert sql("SELECT version_num FROM alembic_version") == [("first",)]


def test_a_wait_has_an_end(standalone: Standalone, other: Bystander, sql: Sql) -> None:
    standalone.revise("first", "op.execute('CREATE TABLE books ()')")
    other.does(HOLD)
    ended = standalone.alembic("upgrade", "head", SHELFMARK_MIGRATION_WAIT_SECONDS="0.3")
    assert ended.code == 2
    assert re.search(rf"process {other.process} of PostgreSQL \(bystander, (from \S+, )?since", ended.err)
    assert f"SELECT pg_terminate_backend({other.process})" in ended.err
    assert "SHELFMARK_MIGRATION_WAIT_SECONDS" in ended.err
    assert "Traceback" not in ended.err
    assert sql("SELECT to_regclass('books') AS a, to_regclass('alembic_version') AS b") == [(None, None)]


def test_nobody_waits_for_those_who_only_look(standalone: Standalone, other: Bystander) -> None:
    standalone.revise("first", "op.execute('CREATE TABLE books ()')")
    other.does(HOLD)
    for words in (("current",), ("heads",), ("upgrade", "head", "--sql")):
        assert standalone.alembic(*words, SHELFMARK_MIGRATION_WAIT_SECONDS="0.1").code == 0


def test_the_lock_is_given_back_whatever_happens(empty_database: str, other: Bystander) -> None:
    held: list[Any] = []

    def breaks(connection: Connection) -> None:
        with alone(connection, Settings()):
            held.extend(other.does(HELD))
            connection.execute(text("SELECT 1 / 0"))

    def broken(connection: Connection) -> None:
        with pytest.raises(DBAPIError, match="division by zero"):
            breaks(connection)
        held.extend(other.does(HELD))

    on_a_connection(empty_database, broken)
    assert held == [(1,), (0,)]


def test_in_a_transaction_of_the_callers_it_stays_until_that_ends(empty_database: str, other: Bystander) -> None:
    held: list[Any] = []

    def rides(connection: Connection) -> None:
        connection.begin()
        with alone(connection, Settings()):
            pass
        held.extend(other.does(HELD))
        connection.rollback()
        held.extend(other.does(HELD))

    on_a_connection(empty_database, rides)
    assert held == [(1,), (0,)]


def test_a_wait_is_told(empty_database: str, other: Bystander, caplog: pytest.LogCaptureFixture) -> None:
    other.does(HOLD)

    def waits(connection: Connection) -> None:
        with (
            pytest.raises(SetupError, match=r"has not ended within 0\.2 s"),
            alone(connection, Settings(migration_wait_seconds=0.2)),
        ):
            pass

    with caplog.at_level(logging.WARNING):
        on_a_connection(empty_database, waits)
    (line,) = caplog.messages
    assert f"process {other.process}" in line
    assert HOLD in line


def test_a_session_that_is_another_at_the_next_statement_is_a_poolers(empty_database: str) -> None:
    def elsewhere(connection: Connection) -> None:
        with alone(connection, Settings()):
            refuse_pooler(connection, process(connection))
            with pytest.raises(SetupError, match=r"pooler.*DATABASE_URL_DIRECT"):
                refuse_pooler(connection, process(connection) + 1)

    on_a_connection(empty_database, elsewhere)


def test_a_lock_that_is_another_sessions_is_a_poolers(empty_database: str) -> None:
    def without(connection: Connection) -> None:
        with pytest.raises(SetupError, match="pooler"):
            refuse_pooler(connection, process(connection))

    on_a_connection(empty_database, without)


def test_the_limits_hold_inside_only(empty_database: str) -> None:
    def limits(connection: Connection) -> list[Any]:
        asked(connection, text("SELECT set_config('lock_timeout', '7s', false), set_config('statement_timeout', '9s', false)"))
        with limited(connection, Settings(migration_lock_timeout_ms=123)):
            inside = asked(connection, SHOW)
            killed = asked(connection, text("SELECT current_setting('client_connection_check_interval')"))
        return [inside, killed, asked(connection, SHOW)]

    assert on_a_connection(empty_database, limits) == [("123ms", "0"), ("2s",), ("7s", "9s")]


def test_a_transaction_of_the_callers_keeps_its_limits(empty_database: str) -> None:
    def limits(connection: Connection) -> Any:
        connection.begin()
        connection.execute(text("SET LOCAL lock_timeout = '7s'"))
        with limited(connection, Settings()):
            return asked(connection, SHOW)

    assert on_a_connection(empty_database, limits)[0] == "7s"
