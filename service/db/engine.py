"""The two engines: one whose connections only read, each statement by itself, and one whose connections write in transactions.

SQLAlchemy's QueuePool does the pooling: a fixed number of connections, the last one used first, no ping before use. Every
statement has a time limit in the database, and one a little above it in the driver, for a server that doesn't answer at all.
"""

from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.settings import Settings

DRIVER_MARGIN_SECONDS = 1.0
Options = dict[str, str]


def reading_engine(url: str, settings: Settings) -> AsyncEngine:
    """An engine for reads: every statement is its own transaction, and a write is an error.

    Parallel plans are off: rows of ranges put together by UNION ALL must come in the order of the ranges. Sorting is off: every
    list has an index that gives its order, but under a generic plan PostgreSQL may still expect few rows, collect all that an
    equality matches, and sort them. So is reading a whole table: for a search that it thinks common PostgreSQL would begin at the
    table's first row, and read all of it where it is wrong.
    """
    options = _session(settings, settings.read_timeout_ms) | {
        "default_transaction_read_only": "on",
        "max_parallel_workers_per_gather": "0",
        "enable_seqscan": "off",
        "enable_sort": "off",
        "enable_incremental_sort": "off",
    }
    return _engine(url, settings, settings.read_pool_size, settings.read_timeout_ms, options, isolation_level="AUTOCOMMIT")


def writing_engine(url: str, settings: Settings) -> AsyncEngine:
    """An engine for units of work: ordinary transactions."""
    options = _session(settings, settings.write_timeout_ms)
    return _engine(url, settings, settings.write_pool_size, settings.write_timeout_ms, options)


def _engine(url: str, settings: Settings, size: int, timeout_ms: int, options: Options, **more: Any) -> AsyncEngine:
    return create_async_engine(
        _without_credentials_in_logs(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=settings.pool_wait_seconds,
        pool_use_lifo=True,
        connect_args={
            "timeout": settings.connect_timeout_seconds,
            "command_timeout": timeout_ms / 1000 + DRIVER_MARGIN_SECONDS,
            "server_settings": options,
        },
        hide_parameters=True,
        **more,
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


def _without_credentials_in_logs(url: str) -> URL:
    """A URL object: it hides its password when it is printed."""
    return make_url(url)
