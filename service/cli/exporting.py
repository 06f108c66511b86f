"""`shelfmark export`: the rows of a question, written from the configured database into a file or to standard output."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from string import punctuation
from time import monotonic
from typing import BinaryIO, cast, get_args
from urllib.parse import quote

from rich.console import Console

from service import schema, settings
from service.contract.choose import Choice
from service.db import Database
from service.db.catalogue import Catalogue
from service.errors import Problem, SetupError, ShelfmarkError, Unavailable
from service.http.asking import parameters_of
from service.http.callers import NOBODY
from service.http.confining import EVERY_ROW, Rows
from service.http.exporting import export_of, separated
from service.http.openapi import FORMULAS
from service.http.table import Table
from service.http.uses import repository
from service.jobs.exporting import Export, Exporting, Reached
from service.jobs.importing import Progress
from service.jobs.opening import SUFFIXES, Format
from service.jobs.progress import watching
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.settings import Settings
from service.telemetry import configure_if_bare

FAILED = 1
MINE = 500
"""Problems below are the question's."""
PARTIAL = ".part"
"""How the name of a file ends that isn't whole yet."""


def run(table: str, question: str, output: Path | None, *, form: str | None, formulas: str) -> None:
    """Write the rows of a question of a table, and say how many there were.

    Raises:
        SetupError: the table, the question, the file or an option can't be used, or the database can't be reached.
        ShelfmarkError: the database went away, or the disk is full: nothing is left of the file.
    """
    loaded, console = settings.load(), Console(stderr=True, highlight=False)
    if form not in {None, *get_args(Format)}:
        raise SetupError(f"--format {form} isn't known. There are {' and '.join(get_args(Format))}.")
    wanted = cast("Format", form or SUFFIXES.get(output.suffix.lower() if output else "", "csv"))
    asked = question.removeprefix("?") + (f"&{FORMULAS}={formulas}" if wanted == "csv" else "")
    configure_if_bare()
    began, of, url = monotonic(), _table(table), database_url(loaded, direct=True)
    try:
        with _target(output) as file, watching(console) as told:
            reached = asyncio.run(_exported(url, loaded, of, asked, wanted, file=file, told=told))
    except BrokenPipeError:  # whoever reads has enough
        raise SystemExit(FAILED) from None
    except Unavailable:
        with in_sentences(url):
            raise
    except Problem as problem:
        raise (SetupError if problem.status < MINE else ShelfmarkError)(problem.detail) from problem
    seconds = monotonic() - began
    console.print(f"{reached.rows:,} rows, {reached.bytes:,} bytes, {seconds:.1f} s")


def _table(name: str) -> Table:
    """A table that is served."""
    found = schema.tables_served()
    if name not in found:
        raise SetupError(f"No table {name} is served. There are {', '.join(found)}.")
    return found[name]


async def _exported(
    url: str, loaded: Settings, table: Table, question: str, form: Format, *, file: BinaryIO, told: Callable[[Progress], None]
) -> Reached:
    alone = loaded.model_copy(update={"read_pool_size": 1, "write_pool_size": 1, "pooler": False})
    database = Database.connect(url, alone)
    database.catalogue = Catalogue(schema.models())
    try:
        await database.catalogue.refresh(database)
        export, choice = _export(table, database, quote(question, safe=punctuation).encode(), form, loaded)
        total = await export.rows.estimate(export.question, choice) if choice.kind == "list" else 0
        reached = Reached()
        async with database.catalogue.watching(database):
            async for part in Exporting(export):
                file.write(part.data)
                reached = part.reached
                told(Progress("exporting", reached.rows, max(total, reached.rows)))
        return reached
    finally:
        await database.close()


def _export(table: Table, database: Database, question: bytes, form: Format, loaded: Settings) -> tuple[Export, Choice]:
    """What a question asks for, and the path that serves it.

    Raises:
        Problem: it can't be understood, or none does.
    """
    asked, style = separated(parameters_of(question), form)
    asking, choice = table.understood(asked, Rows(NOBODY, EVERY_ROW), database, loaded)
    rows = repository(table.repository, database, settings.section)
    return export_of(table, rows, table.of, asking, style, search_most=loaded.search_most), choice


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    """Where the rows go: a file has its name only once it is whole."""
    if output is None:
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer has nowhere to go
            if isinstance(error, BrokenPipeError):
                raise
            raise ShelfmarkError(f"Standard output can't be written: {error.strerror}. What is there isn't all of it.") from error
        return
    part = output.with_name(output.name + PARTIAL)
    try:
        with part.open("wb") as file:
            yield file
        part.replace(output)
    except OSError as error:
        raise ShelfmarkError(f"{output} can't be written: {error.strerror}. Nothing is left of it.") from error
    finally:
        with suppress(OSError):
            part.unlink()
