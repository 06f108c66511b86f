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


def run(table: str, file: str, options: Options) -> None:
    """Import a file into the configured database, and print what was done.

    Raises:
        SetupError: the table, the file or an option can't be used.
        ShelfmarkError: the database went away.
    """
    if options.format is not None and options.format not in get_args(Format):
        raise SetupError(f"--format {options.format} isn't known. There are {' and '.join(get_args(Format))}.")
    url = database_url(settings.load(), direct=True)
    declared = schema.imports().chosen(table)
    console = Console(stderr=True)
    with watching(console) as told:
        summary = asyncio.run(imported(url, declared, file, options, told))
    show(summary, console)
