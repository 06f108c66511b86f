"""One migrator at a time, under time limits of its own.

The lock belongs to the session, so that it outlasts the transactions of a migration and ends with its connection. It is asked for
again and again, never waited for inside PostgreSQL: a session that waits there holds a snapshot, and a CREATE INDEX CONCURRENTLY
of the migrator before it would wait for that snapshot to go, each for the other.
"""

import json
import logging
import math
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import TextClause

from service.errors import SetupError
from service.migrations import sessions
from service.migrations.sessions import COLUMNS, Session, asked, pause
from service.settings import Settings

log = logging.getLogger(__name__)

LOCK = 0x5368_656C_666D_6172
"""The advisory lock of migrations. PostgreSQL has one of each number in each database."""
POLL_SECONDS = (0.1, 0.3)
TELL_SECONDS = 30.0
TAKE = text("SELECT pg_try_advisory_lock(:lock), pg_backend_pid()")
RIDE = text("SELECT pg_try_advisory_xact_lock(:lock), pg_backend_pid()")
RELEASE = text("SELECT pg_advisory_unlock(:lock)")
OURS = """
l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
AND (CAST(l.classid AS bigint) << 32) + CAST(l.objid AS bigint) = :lock
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
KEPT = text(f"SELECT pg_backend_pid() = :process AND EXISTS (SELECT FROM pg_locks l WHERE {OURS} AND l.pid = :process)")
HOLDER = text(f"SELECT {COLUMNS} FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE {OURS}")
# Only what this PostgreSQL knows: transaction_timeout came with 17.
NAMED = "FROM pg_settings WHERE name IN (SELECT json_object_keys(CAST(:settings AS json)))"
READ = text(f"SELECT CAST(json_object_agg(name, current_setting(name)) AS text) {NAMED}")
WRITE = text(f"SELECT count(set_config(name, CAST(:settings AS json) ->> name, false)) {NAMED}")
LIMITS = {
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "60s",
    # A migrator that has vanished from the network is noticed within a minute, and its locks go with it.
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "4",
}
# What PostgreSQL does for a migrator that was killed ends too. Only some systems can look for that.
NOTICE_KILLED = {"client_connection_check_interval": "2s"}

WAITS = "Another migration of this database runs; this one has waited for it for %.0f s, and waits for %g s at most. It is %s"
ENDING = "about to end"
POOLED = (
    "DATABASE_URL leads through a pooler that hands each transaction to another session, where a migration can keep no lock. "
    "Nothing was done. Set DATABASE_URL_DIRECT to the same database past the pooler."
)


@contextmanager
def alone(connection: Connection, settings: Settings) -> Iterator[None]:
    """Be the only migrator of a database for as long as the block lasts; wait for another one before.

    In a transaction of the caller's the lock stays until that ends: only then can others see what was done.

    Raises:
        SetupError: another one didn't end in time, or a pooler stands between.
    """
    if connection.in_transaction():
        _take(connection, settings, RIDE)
        yield
        return
    process = _take(connection, settings, TAKE)
    try:
        refuse_pooler(connection, process)
        yield
    finally:
        _put_back(connection, RELEASE, lock=LOCK)


def _take(connection: Connection, settings: Settings, statement: TextClause) -> int:
    """Get the lock; the process of PostgreSQL that has it then."""
    began, told = time.monotonic(), -math.inf
    while True:
        got, process = asked(connection, statement, lock=LOCK) or (False, 0)
        if got:
            return int(process)
        waited = time.monotonic() - began
        if waited >= settings.migration_wait_seconds:
            raise SetupError(_too_long(_holder(connection), settings))
        if waited - told >= TELL_SECONDS:
            told = waited
            log.warning(WAITS, waited, settings.migration_wait_seconds, _holder(connection) or ENDING)
        pause(connection, random.uniform(*POLL_SECONDS))  # noqa: S311 - two that wait shall not ask in step


def _holder(connection: Connection) -> Session | None:
    """Who has the lock; nobody, if it has just been given back."""
    found = asked(connection, HOLDER, lock=LOCK)
    return None if found is None else Session(*found)


def _too_long(holder: Session | None, settings: Settings) -> str:
    end = f", or end it: SELECT pg_terminate_backend({holder.pid})" if holder else ""
    return (
        f"Another migration of this database has not ended within {settings.migration_wait_seconds:g} s. It is {holder or ENDING}. "
        f"Nothing was done. Run this again when it has ended (SHELFMARK_MIGRATION_WAIT_SECONDS lets it wait for longer){end}."
    )


def refuse_pooler(connection: Connection, process: int) -> None:
    """See that our session is our own: a pooler by transactions gives it to others, and us another one at the next statement.

    While the lock rests with a session, a second connection would be given that one, and has one of its own if there is no pooler.

    Args:
        connection: the one that took the lock.
        process: of PostgreSQL, which it took it from.

    Raises:
        SetupError: it isn't.
    """
    (kept,) = asked(connection, KEPT, lock=LOCK, process=process) or (False,)
    if not kept or _second(connection) == process:
        raise SetupError(POOLED)


def _second(connection: Connection) -> int | None:
    """The process that a second connection gets; None where there isn't one to be had, which is nobody's fault."""
    if not isinstance(connection.engine.pool, NullPool):
        return None  # a pool of the caller's may have no second one
    with suppress(DBAPIError, OSError), connection.engine.connect() as second:
        return sessions.process(second)
    return None


@contextmanager
def limited(connection: Connection, settings: Settings) -> Iterator[None]:
    """The time limits of a migration, and afterwards those of before; in a transaction of the caller's, the caller's.

    A statement may take as long as it needs, but waits for a lock only shortly: whoever comes after it waits behind it.
    """
    if connection.in_transaction():
        yield
        return
    limits = LIMITS | {"lock_timeout": f"{settings.migration_lock_timeout_ms}ms"}
    (before,) = asked(connection, READ, settings=json.dumps(limits)) or ("{}",)
    _set(connection, limits)
    with suppress(DBAPIError):
        _set(connection, NOTICE_KILLED)
    try:
        yield
    finally:
        _put_back(connection, WRITE, settings=before)


def _set(connection: Connection, values: Mapping[str, str]) -> None:
    asked(connection, WRITE, settings=json.dumps(values))


def _put_back(connection: Connection, statement: TextClause, **values: Any) -> None:
    """Leave a session as it was found. One that is broken has nothing left to put back."""
    if connection.closed or connection.invalidated:
        return
    with suppress(DBAPIError, OSError):
        connection.rollback()
        asked(connection, statement, **values)
