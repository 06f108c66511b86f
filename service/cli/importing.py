"""`shelfmark import`: a file, read into the configured database."""

import asyncio
from collections.abc import Callable
from typing import get_args

from rich.console import Console
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from service import schema, settings
from service.errors import SetupError
from service.jobs.importing import Options, Progress, Summary, run_import
from service.jobs.opening import Format
from service.jobs.progress import show, watching
from service.jobs.shaping import Import, chosen
from service.local.urls import database_url


def run(table: str, file: str, options: Options) -> None:
    """Import a file into the configured database, and print what was done.

    Raises:
        SetupError: the table, the file or an option can't be used.
        ShelfmarkError: the database went away.
    """
    if options.format is not None and options.format not in get_args(Format):
        raise SetupError(f"--format {options.format} isn't known. There are {' and '.join(get_args(Format))}.")
    url = database_url(settings.load(), direct=True)
    declared = chosen(table, schema.modules())
    console = Console(stderr=True)
    with watching(console) as told:
        summary = asyncio.run(imported(url, declared, file, options, told))
    show(summary, console)


async def imported(
    url: str, declared: Import, file: str, options: Options, told: Callable[[Progress], None] | None = None
) -> Summary:
    """Import a file on a connection of its own, which no request waits for and no time limit ends."""
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        return await run_import(engine, declared, file, options, told)
    finally:
        await engine.dispose()
