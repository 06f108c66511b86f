"""What alembic/env.py calls: choose the database, connect, and let Alembic do its work there.

Alembic is synchronous and the driver is not: the work runs inside `run_sync`, on an event loop of its own, wherever it is called
from. A caller that has a connection or an engine already hands it over as `config.attributes["connection"]`.
"""

import asyncio
import logging.config
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

from alembic.config import Config
from sqlalchemy import Connection, Engine, MetaData, NullPool, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service import settings
from service.db.encoding import ENCODING_SQL, refuse_encoding
from service.errors import SetupError
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.migrations.ownership import only_ours

PLUGINS = ["alembic.autogenerate.*", "shelfmark.*"]
USAGE_ERROR = 2
CONNECT_SECONDS = 10


def run(context: ModuleType, metadata: Callable[[], MetaData]) -> None:
    """Run the command that Alembic was asked for.

    Args:
        context: `alembic.context`.
        metadata: gives every table; called here, so that a model's mistake ends in a sentence as well.

    Raises:
        SetupError: the database can't be used; from the command line, the sentence is printed and the process ends with 2.
    """
    config: Config = context.config
    asked_by_command = config.cmd_opts is not None
    if asked_by_command and config.config_file_name is not None:
        logging.config.fileConfig(config.config_file_name, disable_existing_loggers=False)
    try:
        _run(context, config, metadata())
    except SetupError as error:
        if not asked_by_command:
            raise
        sys.stderr.write(f"{error}\n")  # Alembic's own way out would exit with 255
        raise SystemExit(USAGE_ERROR) from None


def new_engine(url: str) -> AsyncEngine:
    """An engine for one errand: it keeps no connection.

    Raises:
        SetupError: the URL can't be read.
    """
    try:
        return create_async_engine(url, poolclass=NullPool, connect_args={"timeout": CONNECT_SECONDS})
    except (ArgumentError, ValueError):  # its message may show the password
        raise SetupError("DATABASE_URL can't be read. It looks like postgresql://user:password@host:5432/name.") from None


def on_own_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function to its end, also where this thread already runs an event loop; that loop waits meanwhile."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="migrations") as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


def _run(context: ModuleType, config: Config, metadata: MetaData) -> None:
    if context.is_offline_mode():
        _offline(context, metadata)
        return
    handed = config.attributes.get("connection")
    if handed is not None:
        with in_sentences(None):
            _with_handed(context, metadata, handed)
        return
    url = config.attributes.get("url") or database_url(settings.load(), direct=True)
    with in_sentences(url):
        on_own_loop(lambda: _online(context, metadata, new_engine(url)))


def _with_handed(context: ModuleType, metadata: MetaData, handed: Connection | Engine | AsyncEngine) -> None:
    if isinstance(handed, AsyncEngine):
        on_own_loop(lambda: _online(context, metadata, handed))
    elif isinstance(handed, Engine):
        with handed.connect() as connection:
            _migrate(connection, context, metadata)
    else:
        _migrate(handed, context, metadata)


async def _online(context: ModuleType, metadata: MetaData, engine: AsyncEngine) -> None:
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate, context, metadata)
    finally:
        await engine.dispose()


def _migrate(connection: Connection, context: ModuleType, metadata: MetaData) -> None:
    _refuse_encoding(connection)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
        autogenerate_plugins=PLUGINS,
        include_schemas=any(table.schema for table in metadata.tables.values()),
        include_name=only_ours(connection, metadata),
    )
    with context.begin_transaction():
        context.run_migrations()


def _refuse_encoding(connection: Connection) -> None:
    """Ask before Alembic looks: a transaction left open here would count as the caller's, and never be committed."""
    was_open = connection.in_transaction()
    encoding, folded = connection.execute(text(ENCODING_SQL)).one()
    if not was_open:
        connection.rollback()
    refuse_encoding(encoding, folded)


def _offline(context: ModuleType, metadata: MetaData) -> None:
    context.configure(
        dialect_name="postgresql",
        target_metadata=metadata,
        transaction_per_migration=True,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()
