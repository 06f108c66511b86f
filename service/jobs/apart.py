"""An import on a connection of its own, which no request waits for and no time limit ends: how commands and jobs run one."""

from pathlib import Path

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.jobs.importing import Options, Summary, Watcher, run_import
from service.jobs.merging import Checkpoint, Save
from service.jobs.opening import STDIN, stem_of
from service.jobs.shaping import Import
from service.jobs.turns import refuse_between

END_OTHERS = text("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = :name AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
""")


async def imported(
    url: str,
    declared: Import,
    file: Path | str,
    options: Options,
    told: Watcher | None = None,
    *,
    save: Save | None = None,
    resumed: Checkpoint | None = None,
    alone_as: str | None = None,
) -> Summary:
    """Import a file.

    Args:
        url: of the database, without a pooler in between.
        declared: as for `run_import`, like the others.
        file: the file; `-`: stdin.
        options: what to do differently.
        told: is told how far it is.
        save: keeps a checkpoint. None: the import is no job's, and doesn't come between two runs of one.
        resumed: the checkpoint to go on from.
        alone_as: what the connection is called in the database. Others of that name are ended first: what came before and was
            left, by a worker that is stopped or cut off, holds locks as long as nobody ends it.

    Raises:
        SetupError: as `run_import` does.
        ShelfmarkError: likewise.
    """
    named = {"connect_args": {"server_settings": {"application_name": alone_as}}} if alone_as else {}
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True, **named)
    try:
        if alone_as:
            await _end_others(engine, alone_as)
        if save is None and not options.dry_run:
            save = await _between(engine, declared, _source(options, file))
        return await run_import(engine, declared, file, options, told, save=save, resumed=resumed)
    finally:
        await engine.dispose()


async def _between(engine: AsyncEngine, declared: Import, source: str) -> Save:
    """Refuse to come between two runs of a job: at once, and again under the lock of the import, since a job may begin now."""

    async def refused(connection: AsyncConnection, _: Checkpoint | None = None) -> None:
        await refuse_between(connection, declared.table.name, source)

    async with engine.connect() as connection:
        await refused(connection)
    return refused


def _source(options: Options, file: Path | str) -> str:
    """Where the rows come from, as `run_import` finds it."""
    return stem_of("stdin" if str(file) == STDIN else str(file)) if options.source is None else options.source.strip()


async def _end_others(engine: AsyncEngine, name: str) -> None:
    async with engine.connect() as connection:
        await connection.execute(END_OTHERS, {"name": name})
