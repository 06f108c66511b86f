"""A file becomes rows of a table: read, validated, staged, freed of conflicts, merged. Commands and jobs run the same engine.

The file is read whole before the first row is merged: only then is it known which of two lines with one key is the last, and which
lines want a value that another row holds. So a file that can't be read to its end changes nothing, and a second run finds the same
rejects. Merging goes in windows of rows, one transaction each, and can go on after any of them (`Checkpoint`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TextIO

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.errors import SetupError, ShelfmarkError
from service.jobs.merging import Checkpoint, Merge, Save, sqlstate
from service.jobs.opening import Format, Opened, opened
from service.jobs.reading import records
from service.jobs.rejecting import rejects_file, write_rejects
from service.jobs.resolving import resolve
from service.jobs.shaping import Import
from service.jobs.staging import Reject, Staging
from service.jobs.validating import Refused, Row, Validator

CHUNK_ROWS = 10_000
BATCH_RECORDS = 2_000
SOURCE_CHARACTERS = 200
REFUSALS = {
    "42P01": "The table {table} isn't there yet. Run `shelfmark migrate` first.",
    "42703": "The table {table} lacks a column. Run `shelfmark migrate` first.",
    "42501": "This database user may not do that: it needs to read and write {table}, and to make temporary tables.",
}


class Unready(SetupError):
    """The database isn't ready for an import: no fault of the file's."""


class AlreadyRunning(SetupError):
    """Another import of the same source is running."""


@dataclass(frozen=True)
class Options:
    """What can be said about one import.

    Attributes:
        source: where the rows come from; together with its key it identifies a row. None: the file's name without its ending.
        format: None: by the file's ending, else by its first character.
        rejects: where to write rejected lines, as CSV of line, reason, text.
        dry_run: do everything, keep nothing.
        chunk: rows that are merged in one transaction.
        name: how messages call the file; None: by its path.
        unpacked_most: bytes that the file may have, unpacked; None: any number.
        rejected_most: records that may be rejected; None: any number.
    """

    source: str | None = None
    format: Format | None = None
    rejects: Path | None = None
    dry_run: bool = False
    chunk: int = CHUNK_ROWS
    name: str | None = None
    unpacked_most: int | None = None
    rejected_most: int | None = None


@dataclass(frozen=True)
class Progress:
    """How far an import is.

    Attributes:
        stage: `reading` counts the file's bytes, `merging` its rows; of an export, `exporting` counts its rows.
        done: how many are done.
        total: of how many.
    """

    stage: Literal["reading", "merging", "exporting"]
    done: int
    total: int


@dataclass(frozen=True)
class Summary:
    """What an import did. `read` is the sum of the four others.

    Attributes:
        source: the name under which the rows are known.
        read: records in the file.
        inserted: rows that are new.
        updated: rows that differed.
        unchanged: rows that were there just so.
        rejected: records that were refused.
        seconds: how long it took.
        dry_run: whether nothing was kept.
    """

    source: str
    read: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    seconds: float
    dry_run: bool


Watcher = Callable[[Progress], None]


async def run_import(
    engine: AsyncEngine,
    declared: Import,
    path: Path | str,
    options: Options | None = None,
    on_progress: Watcher | None = None,
    *,
    save: Save | None = None,
    resumed: Checkpoint | None = None,
) -> Summary:
    """Import a file, `-` for stdin.

    The engine's connections need a server in reach without a pooler in transaction mode, and no `command_timeout`.

    Args:
        engine: where the table is.
        declared: how the table wants to be imported into.
        path: the file.
        options: what to do differently.
        on_progress: told after each batch and each transaction.
        save: keeps a checkpoint, within the transaction that it tells of.
        resumed: the checkpoint to go on from, of the same file.

    Raises:
        SetupError: the file or the options can't be used, or an import of the same source is running; nothing was changed.
        ShelfmarkError: the database went away; the message says how far it came.
    """
    options, began = options or Options(), time.monotonic()
    file = await asyncio.to_thread(opened, path, options.format, name=options.name, most=options.unpacked_most)
    try:
        staging = Staging(declared, _source(options, file))
        with rejects_file(options.rejects, path) as rejects:
            async with _connected(engine, staging) as connection:
                run = _Run(connection, file, staging, options, on_progress or (lambda _: None), resumed=resumed)
                read = await run.stage()
                reached = await run.merge(save)
                rejected = await run.rejected(rejects)
    finally:
        file.close()
    counts = (reached.inserted, reached.updated, reached.unchanged) if resumed is None else _counted(reached, read - rejected)
    return Summary(staging.source, read, *counts, rejected, seconds=time.monotonic() - began, dry_run=options.dry_run)


def _counted(reached: Checkpoint, merged: int) -> tuple[int, int, int]:
    """What became of so many rows that several runs merged: between two of them others may have changed what is counted already."""
    inserted = min(reached.inserted, merged)
    updated = min(reached.updated, merged - inserted)
    return inserted, updated, merged - inserted - updated


class _Run:
    """One import on its way."""

    def __init__(
        self,
        connection: AsyncConnection,
        file: Opened,
        staging: Staging,
        options: Options,
        told: Watcher,
        *,
        resumed: Checkpoint | None,
    ) -> None:
        self._connection = connection
        self._file = file
        self._staging = staging
        self._options = options
        self._told = told
        self._resumed = resumed
        self._validator = Validator(staging.declared)

    async def stage(self) -> int:
        """Read the file into the staging tables, and resolve conflicts; how many records it has."""
        read, batches = 0, await asyncio.to_thread(_Batches, self._file, self._validator)
        rejected = 0
        adding: asyncio.Task[None] | None = None
        try:
            while batch := await asyncio.to_thread(batches.next):  # validated while the database takes the one before
                rows, rejects = batch
                read, rejected = read + len(rows) + len(rejects), rejected + len(rejects)
                self._stop_at(rejected)
                if adding is not None:
                    await adding
                adding = asyncio.create_task(self._staging.add(self._connection, rows, rejects))
                self._told(Progress("reading", self._file.position(), self._file.size))
            if adding is not None:
                await adding
        finally:
            if adding is not None:
                adding.cancel()
        self._staging.written = self._validator.seen
        await self._staging.finish(self._connection)
        await resolve(self._connection, self._staging, self._resumed.late if self._resumed else ())
        self._stop_at(await self._staging.rejected(self._connection))
        return read

    def _stop_at(self, rejected: int, reached: Checkpoint | None = None) -> None:
        """Stop where too many records are rejected: whoever is sent them could do nothing with them.

        Who goes on may have another limit, and what was found before doesn't end what is half done; what the database refuses does.
        """
        most = self._options.rejected_most
        if most is None or rejected <= most or (self._resumed and reached is None):
            return
        stays = 0 if reached is None or self._options.dry_run else reached.merged
        ended = f"the import ended after {stays:,} rows, which stay" if stays else "nothing was"
        raise SetupError(
            f"{self._file.name} has more than {most:,} records that can't be imported, so {ended}. Import its first lines alone "
            "to see what is wrong with them."
        )

    async def merge(self, save: Save | None) -> Checkpoint:
        """Merge all rows, window by window."""
        merge = Merge(
            self._connection,
            self._staging,
            save=save,
            keep=not self._options.dry_run,
            reached=self._resumed,
            check=self._stop_at,
        )
        await merge.prepare()
        total = await self._connection.scalar(select(func.count()).select_from(self._staging.rows)) or 0
        while await self._step(merge):
            self._told(Progress("merging", min(merge.reached.merged, total), total))  # what is done again is counted again
        return merge.reached

    async def _step(self, merge: Merge) -> bool:
        try:
            return await merge.step(self._options.chunk)
        except (OSError, DBAPIError) as error:
            if not isinstance(error, OSError) and not error.connection_invalidated:
                raise
            raise ShelfmarkError(
                f"The database went away after {merge.reached.merged:,} rows, which stay. Run the same import again: rows that are "
                "there already count as unchanged."
            ) from error

    async def rejected(self, target: TextIO | None) -> int:
        """Write the rejected lines, if that is wanted; how many there are."""
        if target is not None:
            await write_rejects(self._connection, self._staging, self._file, target)
        return await self._staging.rejected(self._connection)


class _Batches:
    """The file's records as rows and rejects, a batch at a time."""

    def __init__(self, file: Opened, validator: Validator) -> None:
        found = records(file)
        validator.check(found, file.name)
        self._records = iter(found)
        self._validator = validator

    def next(self) -> tuple[list[Row], list[Reject]] | None:
        """The next batch; None at the end."""
        rows: list[Row] = []
        rejects: list[Reject] = []
        for record in islice(self._records, BATCH_RECORDS):
            try:
                rows.append(self._validator.row(record))
            except Refused as reason:
                rejects.append((record.line, str(reason)))
        return (rows, rejects) if rows or rejects else None


def _source(options: Options, file: Opened) -> str:
    source = file.stem if options.source is None else options.source.strip()
    if not source or len(source) > SOURCE_CHARACTERS or "\0" in source:
        raise SetupError(f"The source must have 1 to {SOURCE_CHARACTERS} characters; name one with --source.")
    return source


@asynccontextmanager
async def _connected(engine: AsyncEngine, staging: Staging) -> AsyncIterator[AsyncConnection]:
    """A connection with the staging tables on it, alone with its table and source; closed for good at the end, whatever happens."""
    name = staging.declared.table.name
    async with engine.connect() as connection:
        try:
            try:
                await _lock(connection, name, staging.source)
                await connection.execute(select(staging.declared.table).limit(0))
                await staging.create(connection)
            except DBAPIError as error:
                if sqlstate(error) not in REFUSALS:
                    raise
                raise Unready(REFUSALS[sqlstate(error)].format(table=name)) from None
            yield connection
        finally:
            await connection.invalidate()  # its settings, its lock and its tables are nobody else's business


async def _lock(connection: AsyncConnection, table: str, source: str) -> None:
    lock = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
    if not await connection.scalar(lock, {"name": f"shelfmark import {table} {source}"}):
        raise AlreadyRunning(
            f"Another import into {table} from the source {source!r} is running. Wait for its end, or name another --source."
        )
