"""Sessions of the database, in words; and errands on a connection."""

import datetime

from sqlalchemy import Connection, text

from service.migrations.sessions import Session, asked, pause, process
from tests.migrations.standalone import Bystander
from tests.migrations.test_safety import on_a_connection

NOON = datetime.datetime(2026, 9, 1, 12, 0, 5, tzinfo=datetime.UTC)


def test_a_session_in_words() -> None:
    whole = Session(7, "psql", "10.0.0.1", NOON, "SELECT\n  1")
    assert str(whole) == "process 7 of PostgreSQL (psql, from 10.0.0.1, since 12:00:05 UTC): SELECT 1"


def test_of_another_roles_session_little_is_seen() -> None:
    assert str(Session(7, "", None, None, None)) == "process 7 of PostgreSQL"


def test_a_long_statement_is_cut() -> None:
    told = str(Session(7, None, None, None, "SELECT " + "x" * 500))
    assert len(told) < 200
    assert told.endswith("x...")


def test_an_errand_leaves_no_transaction_open(empty_database: str) -> None:
    def errand(connection: Connection) -> list[bool]:
        assert asked(connection, text("SELECT 1 + :one"), one=1) == (2,)
        assert asked(connection, text("SELECT 1 WHERE false")) is None
        alone = connection.in_transaction()
        connection.begin()
        asked(connection, text("SELECT 1"))
        return [alone, connection.in_transaction()]

    assert on_a_connection(empty_database, errand) == [False, True]


def test_the_process_and_a_pause(empty_database: str, other: Bystander) -> None:
    def errand(connection: Connection) -> bool:
        mine = process(connection)
        pause(connection, 0.01)
        return bool(other.does(f"SELECT FROM pg_stat_activity WHERE pid = {mine} AND state = 'idle'"))

    assert on_a_connection(empty_database, errand)
