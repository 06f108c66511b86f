"""A move as a whole: alone, under limits of its own, all put back afterwards; on a connection of the caller's too."""

import io
from collections.abc import Callable

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from service.migrations.safety import LOCK
from service.settings import Settings
from tests.migrations.conftest import Sql
from tests.migrations.standalone import Bystander, Standalone
from tests.migrations.test_safety import HELD, on_a_connection

LIMIT = "SELECT current_setting('lock_timeout') AS it"
TABLES = "SELECT count(*) AS n FROM pg_class WHERE relname = 'seen' OR relname = 'alembic_version'"


def migrating(project: Standalone, to: str = "head") -> Callable[[Connection], None]:
    """Upgrade on a connection that is handed over."""
    attributes = {"settings": Settings(migration_lock_timeout_ms=777)}
    config = Config(project.ini, stdout=io.StringIO(), attributes=attributes)

    def upgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, to)

    return upgrade


@pytest.fixture
def looking(standalone: Standalone) -> Standalone:
    """A migration that notes what holds while it runs."""
    standalone.revise("first", f'op.execute("""CREATE TABLE seen AS SELECT ({HELD}) AS held, ({LIMIT}) AS waits""")')
    return standalone


def test_it_is_alone_and_waits_shortly_and_all_is_put_back(looking: Standalone, other: Bystander, sql: Sql) -> None:
    def handed(connection: Connection) -> None:
        connection.execute(text("SET lock_timeout = '9s'"))
        connection.commit()
        migrating(looking)(connection)
        assert not connection.in_transaction()
        assert connection.scalar(text(LIMIT)) == "9s"
        assert other.does(HELD) == [(0,)]

    on_a_connection(looking.url, handed)
    assert sql("SELECT held, waits FROM seen") == [(1, "777ms")]


def test_in_a_transaction_of_the_callers_all_is_the_callers(looking: Standalone, other: Bystander, sql: Sql) -> None:
    def handed(connection: Connection) -> None:
        connection.begin()
        migrating(looking)(connection)
        assert connection.in_transaction()
        assert connection.execute(text("SELECT held, waits FROM seen")).all() == [(1, "0")]
        assert other.does(HELD) == [(1,)]
        assert other.does(TABLES) == [(0,)]
        connection.rollback()
        assert other.does(HELD) == [(0,)]

    on_a_connection(looking.url, handed)
    assert sql(TABLES) == [(0,)]


def test_after_a_failure_all_is_put_back_as_well(looking: Standalone, other: Bystander, sql: Sql) -> None:
    looking.revise("second", "op.execute('CREATE TABLE half ()')", "op.execute('SELECT 1 / 0')")

    def handed(connection: Connection) -> None:
        connection.execute(text("SET lock_timeout = '9s'"))
        connection.commit()
        with pytest.raises(DBAPIError, match="division by zero"):
            migrating(looking)(connection)
        assert connection.scalar(text(LIMIT)) == "9s"
        assert other.does(HELD) == [(0,)]

    on_a_connection(looking.url, handed)
    assert sql("SELECT to_regclass('seen')::text, to_regclass('half')::text") == [("seen", None)]
    assert sql("SELECT version_num FROM alembic_version") == [("first",)]


def test_a_stamp_is_a_move_too(looking: Standalone, other: Bystander) -> None:
    other.does(f"SELECT pg_advisory_lock({LOCK})")
    ended = looking.alembic("stamp", "head", SHELFMARK_MIGRATION_WAIT_SECONDS="0.1")
    assert ended.code == 2
    assert "Another migration of this database" in ended.err
    other.does(f"SELECT pg_advisory_unlock({LOCK})")
    assert looking.alembic("stamp", "head").code == 0
    assert looking.alembic("current").out.strip() == "first (head)"
    assert looking.alembic("stamp", "--purge", "base").code == 0
    assert looking.alembic("current").out.strip() == ""
