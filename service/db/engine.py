"""The engines: one whose connections only read, one whose connections write in transactions, and one connection aside.

A read is a statement by itself. The connection aside is for what the service itself asks, so that it never waits behind traffic.

SQLAlchemy's QueuePool keeps the connections: a fixed number, the last one used first, no ping before use. Every statement has a
time limit in the database, and one a little above it in the driver, for a server that doesn't answer at all.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import Any

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.db.budget import sizes
from service.settings import Settings

ASIDE_CONNECTIONS = 1
ASIDE_TIMEOUT_MS = 1000
TRANSACTION_TIMEOUT_SINCE = 17
POOLED: dict[str, Any] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",  # a name would outlast its use, in a session that is somebody else's by then
}
"""What the driver must do without where a session of PostgreSQL's is one's own for a transaction only."""
Options = dict[str, str]


def reading_engine(url: str, settings: Settings) -> AsyncEngine:
    """An engine for reads: every statement is its own transaction, and a write is an error."""
    options = reading_options(settings)
    return _engine(url, settings, sizes(settings).reads, settings.read_timeout_ms, options, autocommit=True)


def writing_engine(url: str, settings: Settings) -> AsyncEngine:
    """An engine for units of work: ordinary transactions."""
    options = _session(settings, settings.write_timeout_ms)
    return _engine(url, settings, sizes(settings).writes, settings.write_timeout_ms, options)


def aside_engine(url: str, settings: Settings) -> AsyncEngine:
    """An engine for health and the catalogue: one connection that traffic never takes."""
    options = _session(settings, ASIDE_TIMEOUT_MS) | {"default_transaction_read_only": "on"}
    return _engine(url, settings, ASIDE_CONNECTIONS, ASIDE_TIMEOUT_MS, options, autocommit=True)


def reading_options(settings: Settings) -> Options:
    """What PostgreSQL is told for connections that read. Behind a pooler it has to be told so for the role that reads.

    Parallel plans are off: rows of ranges put together by UNION ALL must come in the order of the ranges. Sorting is off: every
    list has an index that gives its order, but under a generic plan PostgreSQL may still expect few rows, collect all that an
    equality matches, and sort them. So is reading a whole table: for a search that it thinks common PostgreSQL would begin at the
    table's first row, and read all of it where it is wrong.
    """
    return _session(settings, settings.read_timeout_ms) | {
        "default_transaction_read_only": "on",
        "max_parallel_workers_per_gather": "0",
        "enable_seqscan": "off",
        "enable_sort": "off",
        "enable_incremental_sort": "off",
    }


def _engine(url: str, settings: Settings, size: int, timeout_ms: int, options: Options, *, autocommit: bool = False) -> AsyncEngine:
    return create_async_engine(
        _without_credentials_in_logs(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=settings.pool_wait_seconds,
        pool_use_lifo=True,
        pool_reset_on_return=None if autocommit else "rollback",
        connect_args={
            "timeout": settings.connect_timeout_seconds,
            "command_timeout": (timeout_ms + settings.driver_margin_ms) / 1000,
            "async_creator_fn": _connecting(settings),
            **(POOLED if settings.pooler else {"server_settings": options}),
        },
        hide_parameters=True,
        **({"isolation_level": "AUTOCOMMIT"} if autocommit else {}),
    )


def _session(settings: Settings, statement_timeout_ms: int) -> Options:
    return {
        "application_name": "shelfmark",
        "timezone": "UTC",
        "jit": "off",
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(settings.idle_in_transaction_timeout_ms),
    }


class Connecting:
    """A connection in the making. Nothing has begun until it is awaited, so it may be dropped before that."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Awaitable[Any]]) -> None:
        self._make = make

    def __await__(self) -> Generator[Any, None, Any]:
        return self._make().__await__()


def _connecting(settings: Settings) -> Callable[..., Connecting]:
    """How a connection is made: with the limit for transactions, where PostgreSQL has one."""

    async def make(*given: Any, **named: Any) -> Any:
        driver = await asyncpg.connect(*given, **named)
        try:
            if not settings.pooler and driver.get_server_version().major >= TRANSACTION_TIMEOUT_SINCE:
                await driver.execute(f"SET transaction_timeout = {settings.transaction_timeout_ms}")
        except BaseException:
            driver.terminate()
            raise
        return driver

    return lambda *given, **named: Connecting(lambda: make(*given, **named))


def _without_credentials_in_logs(url: str) -> URL:
    """A URL object: it hides its password when it is printed."""
    return make_url(url)
