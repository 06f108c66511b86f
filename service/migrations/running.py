"""What alembic/env.py calls: choose the database, connect, and let Alembic do its work there.

Alembic is synchronous and the driver is not: the work runs inside `run_sync`, on an event loop of its own, wherever it is called
from. A caller that has a connection or an engine already hands it over as `config.attributes["connection"]`.
"""

import asyncio
import logging.config
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
from service.migrations import recording
from service.migrations.chain import refuse_ahead, refuse_broken
from service.migrations.claiming import noted
from service.migrations.failures import in_sentences
from service.migrations.moving import Move, move, standing
from service.migrations.ownership import only_ours
from service.migrations.refusing import OUTER
from service.migrations.splitting import split
from service.migrations.watching import Watch

PLUGINS = ["alembic.autogenerate.*", "shelfmark.*"]
USAGE_ERROR = 2
CONNECTING = {"timeout": 10, "server_settings": {"application_name": "shelfmark migrate"}}


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
        return create_async_engine(url, poolclass=NullPool, connect_args=CONNECTING)
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
    loaded = config.attributes.get("settings") or settings.load()
    how = Move(loaded, told=config.attributes.get("told"), dry=config.attributes.get("dry", False))
    handed = config.attributes.get("connection")
    if handed is not None:
        with in_sentences(None):
            _with_handed(context, metadata, handed, how)
        return
    url = config.attributes.get("url") or database_url(loaded, direct=True)
    with in_sentences(url):
        on_own_loop(lambda: _online(context, metadata, new_engine(url), how))


def _with_handed(context: ModuleType, metadata: MetaData, handed: Connection | Engine | AsyncEngine, how: Move) -> None:
    if isinstance(handed, AsyncEngine):
        on_own_loop(lambda: _online(context, metadata, handed, how))
    elif isinstance(handed, Engine):
        with handed.connect() as connection:
            _migrate(connection, context, metadata, how)
    else:
        _migrate(handed, context, metadata, how)


async def _online(context: ModuleType, metadata: MetaData, engine: AsyncEngine, how: Move) -> None:
    watch = Watch(engine)
    try:
        async with engine.connect() as connection:
            try:
                await connection.run_sync(_migrate, context, metadata, replace(how, watch=watch))
            finally:
                await watch.end()
    finally:
        await engine.dispose()


def _migrate(connection: Connection, context: ModuleType, metadata: MetaData, how: Move) -> None:
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
        process_revision_directives=split,
        on_version_apply=noted,
        **{OUTER: connection.in_transaction()},
    )
    migration = context.get_context()
    refuse_broken(migration.script)
    refuse_ahead(migration.script, standing(migration, connection))
    if recording.moves(context):
        move(context, connection, metadata, how)
        return
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
    refuse_broken(context.get_context().script)
    with context.begin_transaction():
        context.run_migrations()
    if recording.moves(context) and context.get_revision_argument() == context.get_head_revision():
        for statement in recording.script(metadata):
            context.execute(statement)
