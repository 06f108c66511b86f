"""`shelfmark import`: a file, read into the configured database."""

import asyncio
from typing import get_args

from rich.console import Console

from service import schema, settings
from service.errors import SetupError
from service.jobs.apart import imported
from service.jobs.importing import Options
from service.jobs.opening import Format
from service.jobs.progress import show, watching
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.migrations.running import new_engine


def run(table: str, file: str, options: Options) -> None:
    """Import a file into the configured database, and print what was done.

    Raises:
        SetupError: the table, the file or an option can't be used, or the database can't be reached.
        ShelfmarkError: the database went away.
    """
    if options.format is not None and options.format not in get_args(Format):
        raise SetupError(f"--format {options.format} isn't known. There are {' and '.join(get_args(Format))}.")
    url = database_url(settings.load(), direct=True)
    declared = schema.imports().chosen(table)
    console = Console(stderr=True)
    with in_sentences(url):
        asyncio.run(_reached(url))
    with watching(console) as told:
        summary = asyncio.run(imported(url, declared, file, options, told))
    show(summary, console)


async def _reached(url: str) -> None:
    """Connect once: later an error of the system may be the file's."""
    engine = new_engine(url)
    try:
        async with engine.connect():
            pass
    finally:
        await engine.dispose()
