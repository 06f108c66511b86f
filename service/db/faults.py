"""What the database, the driver and the pool raise, as problems: one table for all of it.

Errors come in four families: SQLAlchemy's TimeoutError (no connection became free), the built-in TimeoutError (the driver's own
limit), raw OSError (a connection that was refused isn't wrapped), and what the server says, told apart by SQLSTATE: as DBAPIError
from a session, as the dialect's error from a pool, as asyncpg's from a lease. A driver that has lost its connection says it in
words of its own.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.contract.question import FOLDED
from service.db.model import Model, table_of
from service.db.surface import Surface, surface
from service.errors import Conflict, Internal, Overloaded, Problem, StorageFull, TimedOut, Unavailable, ValueRefused

AWAY = "The database can't be reached right now. Nothing was changed unless you were told so; try again in a moment."
BUSY = "All connections to the database are in use. Try again in a moment."
SLOW = "The database stopped the statement at its time limit. Ask for less, or try again in a moment."
BEHIND = "The database lacks a table or column that this version of the service needs; its operator has to run the migrations."
FULL = "The database's disk is full, so nothing can be written. Reads still work."
UNKNOWN = (
    "The connection to the database was lost while this was being committed, so it may or may not have been done. "
    "Look before you repeat it."
)
OF_THE_DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
FAULTS = (DBAPIError, EmulatedDBAPIException, PoolTimeoutError, TimeoutError, ConnectionError, *OF_THE_DRIVER)
ENDED = ("08", "57P")
"""How the states begin with which a server ends a connection: what it did last isn't known."""
LOST = {"08000", "08003", "08006", "57P01", "57P02"}
OF_FILES = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE}
COLLIDED = {"40001", "40P01"}

BY_STATE: dict[str, tuple[type[Problem], str]] = {
    "08": (Unavailable, AWAY),
    "57P": (Unavailable, AWAY),
    "53": (Unavailable, AWAY),
    "53100": (StorageFull, FULL),
    "54": (ValueRefused, "One of the values is too large: for an index, or too deeply nested. Send a smaller one."),
    "57014": (TimedOut, SLOW),
    "25P03": (TimedOut, SLOW),
    "25P04": (TimedOut, SLOW),
    "55P03": (TimedOut, "Another request holds the row for too long. Try again in a moment."),
    "40": (TimedOut, "Another request changed the same rows at the same time. Try again."),
    "22": (ValueRefused, "The database can't store one of the values: it is out of range, or not valid text."),
    "21": (ValueRefused, "The same key stands in the batch twice. Send each row once."),
    "42P01": (Unavailable, BEHIND),
    "42703": (Unavailable, BEHIND),
    "25006": (Internal, "A read tried to write."),
}


@contextmanager
def as_problems() -> Iterator[None]:
    """Raise what goes wrong with the database inside as the problem that a client is told."""
    try:
        yield
    except FAULTS as error:
        found = problem(error)
        if found is None:
            raise
        raise found from error


@contextmanager
def connecting() -> Iterator[None]:
    """Raise what goes wrong while a connection is made: whatever it is, the database can't be had."""
    try:
        yield
    except PoolTimeoutError as error:
        raise Overloaded(BUSY) from error
    except (*FAULTS, OSError) as error:
        raise Unavailable(AWAY) from error


def problem(error: BaseException) -> Problem | None:
    """The problem that an error stands for; None for one that is a mistake of the service's own."""
    if isinstance(error, PoolTimeoutError):
        return Overloaded(BUSY)
    if isinstance(error, TimeoutError):
        return TimedOut(SLOW)
    if isinstance(error, OSError):
        return None if _is_of_a_file(error) else Unavailable(AWAY)
    return _by_state(error) if isinstance(error, (DBAPIError, EmulatedDBAPIException, *OF_THE_DRIVER)) else None


def _is_of_a_file(error: OSError) -> bool:
    """Whether it was about a file, not a connection."""
    return error.filename is not None or error.errno in OF_FILES


def gone(error: BaseException | None) -> bool:
    """Whether a connection was lost that stood before. What does no harm twice may be asked again on another one."""
    cause = driver_error(error)
    if isinstance(cause, asyncpg.InternalClientError | ConnectionResetError | BrokenPipeError):
        return True
    return state_of(error) in LOST or (isinstance(error, FAULTS) and "connection is closed" in str(cause))


def collided(error: BaseException | None) -> bool:
    """Whether the database ended a transaction for the sake of another: it was rolled back, and may go through next time."""
    return state_of(error) in COLLIDED


def is_told(error: BaseException) -> bool:
    """Whether the server has said itself that it didn't do what it was asked: otherwise nobody knows."""
    state = state_of(error)
    return bool(state) and not state.startswith(ENDED)


def unsettled(error: BaseException) -> bool:
    """Whether a statement may still run on the connection: the server hasn't said that it ended.

    So it is after a cancellation and after the driver's own time limit, also where another error came of them.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TimeoutError | asyncpg.InterfaceError) or not isinstance(seen, Exception):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def state_of(error: BaseException | None) -> str:
    """The SQLSTATE of an error, five characters; empty where the server said none."""
    return str(getattr(driver_error(error), "sqlstate", None) or "")


def driver_error(error: BaseException | None) -> Any:
    """The driver's own error, which knows the table, the constraint and the column."""
    found = error.orig if isinstance(error, DBAPIError) else error
    return (found.orig or found) if isinstance(found, EmulatedDBAPIException) else found


def _by_state(error: BaseException) -> Problem | None:
    state = state_of(error)
    if state.startswith("23"):
        return _refused(state, driver_error(error))
    for length in (5, 3, 2):
        if state[:length] in BY_STATE:
            kind, detail = BY_STATE[state[:length]]
            return kind(detail)
    return Unavailable(AWAY) if gone(error) else None


def _refused(state: str, cause: Any) -> Problem:
    """Integrity: unique 23505, reference 23503, not null 23502, check 23514, exclusion 23P01."""
    table, constraint = str(cause.table_name), str(cause.constraint_name)
    names = [str(cause.column_name)] if state == "23502" else names_of(table, constraint)
    called = " and ".join(names) or constraint
    extra = {"fields": names} if names else {}
    if state in {"23505", "23P01"}:
        return Conflict(f"Another of the {table} already has this {called}. Change that one, or send another value.", **extra)
    if state == "23503" and "still referenced" in str(cause.detail):
        return Conflict(f"It can't go: {table} still refer to it ({called}). Delete or change those first.", **extra)
    if state == "23503":
        return ValueRefused(f"{called} refers to a row that doesn't exist. Create that one first, or send another value.", **extra)
    if state == "23502":
        return ValueRefused(f"{called} can't be null. Send a value.", **extra)
    return ValueRefused(f"The values break the rule {constraint} of {table}.", rule=constraint, **extra)


def names_of(table: str, constraint: str) -> list[str]:
    """The names that clients use for the keys of an index or constraint; none where it is unknown."""
    models: list[type[Model]] = [mapper.class_ for mapper in Model.registry.mappers]
    found = next((model for model in models if model.__tablename__ == table), None)
    return [] if found is None else _names(surface(found), table_of(found), constraint)


def _names(of: Surface, table: Table, constraint: str) -> list[str]:
    path = next((path for path in of.contract.paths if path.name == constraint), None)
    if path:
        return [key.name.removesuffix(FOLDED) for key in path.keys]
    declared = next((one for one in (*table.constraints, *table.indexes) if getattr(one, "name", None) == constraint), None)
    columns = list(getattr(declared, "columns", ()))
    return [name for name, expression in of.expressions.items() if any(expression is column for column in columns)]
