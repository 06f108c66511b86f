"""An uploaded file becomes rows: the import as a job, by the same engine as the command.

Each window of rows commits together with the job's checkpoint. A run that takes over from one that was killed stages the file
again, a quarter to a third of the work of a whole one, and goes on merging where that one had come to. One that has to wait for
another import of its source leaves its slot meanwhile. What is rejected becomes a file of the spool.
"""

import asyncio
import datetime
import tempfile
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.background import beside
from service.db import Database
from service.errors import SetupError
from service.jobs import turns
from service.jobs.apart import imported
from service.jobs.importing import CHUNK_ROWS, AlreadyRunning, Options, Progress, Summary, Unready
from service.jobs.job import Refused, job
from service.jobs.links import Links
from service.jobs.merging import Checkpoint
from service.jobs.opening import Format
from service.jobs.running import Postponed, Run, Unable
from service.jobs.shaping import Import, Imports
from service.jobs.spool import Elsewhere, FileGone, Spool, Spooled
from service.local.urls import database_url
from service.settings import Settings

KEPT = datetime.timedelta(days=1)
"""For which an upload is kept once it is imported: its run may have to be told again, and it counts among the bytes of a day."""
TOLD_SECONDS = 0.5
WAIT_SECONDS = 2.0
MESSAGES = {"reading": "reading the file: bytes", "merging": "merging: rows"}


@job(name="import", attempts=5, lease=30.0, timeout=None)
async def import_upload(
    run: Run,
    *,
    table: str,
    upload: int,
    source: str,
    form: Format | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Import an uploaded file into a table.

    Args:
        run: the job's.
        table: its name.
        upload: the file in the spool.
        source: where the rows come from.
        form: what its lines are; None: that is found out.
        dry_run: do everything, keep nothing.

    Returns:
        The counts of the summary; and, where records were rejected, the file that has them as `rejects`, with the link to it.

    Raises:
        Refused: the file can't be imported.
        Postponed: another import of its source goes first.
        Unable: not now.
    """
    spool, declared, loaded, links = run.uses(Spool), run.uses(Imports).get(table), run.uses(Settings), run.uses(Links)
    if declared is None:
        raise Refused(f"No file can be imported into {table}: this version declares no import for it.")
    importing = _Importing(run, declared, source, database_url(loaded, direct=True))
    await importing.wait()  # before the file is fetched
    try:
        known = await spool.find(upload)
        with tempfile.TemporaryDirectory(prefix="shelfmark-") as folder:
            rejects = Path(folder) / "rejects.csv"
            options = Options(
                source,
                form,
                rejects,
                dry_run,
                chunk=CHUNK_ROWS,
                name=known.name,
                unpacked_most=loaded.upload_unpacked_most,
                rejected_most=loaded.upload_rejected_most,
            )
            async with spool.local(upload) as path:
                summary = await importing.all_of(path, options)
            if not dry_run and (summary.inserted or summary.updated):
                await _forgotten(run.database, declared)
            file = (
                await spool.keep(rejects, f"{source}.rejects.csv", "rejects", asked_by=run.asked_by) if summary.rejected else None
            )
        await spool.release(upload, KEPT)
    except Elsewhere as error:  # by a worker that is set up otherwise it may go
        raise Unable(str(error)) from error
    except FileGone as gone:
        raise Refused("The file is gone: it expired before it was imported. Upload it again.") from gone
    return {**msgspec.to_builtins(summary), "rejects": file and _told(file, links)}


class _Importing:
    """One run of an import."""

    def __init__(self, run: Run, declared: Import, source: str, url: str) -> None:
        self._run, self._declared, self._source, self._url = run, declared, source, url
        self._named, self._table = f"shelfmark job {run.id}", declared.table.name
        self._progress: Progress | None = None

    async def wait(self) -> None:
        """Leave the slot to others while another import of the source runs, or goes first.

        Raises:
            Postponed: that is so.
        """
        async with self._run.database.reading() as session:
            ahead = await self._is_ahead(session) or await turns.is_held(session, self._table, self._source, own=self._named)
        if ahead:
            raise self._postponed()

    async def all_of(self, path: Path, options: Options) -> Summary:
        """Import a file."""
        before = self._run.checkpoint
        resumed = None if before is None else msgspec.convert(before, Checkpoint)
        async with self._telling():
            try:
                return await imported(
                    self._url,
                    self._declared,
                    path,
                    options,
                    self._reached,
                    save=self._save,
                    resumed=resumed,
                    alone_as=self._named,
                )
            except AlreadyRunning as error:
                raise self._postponed() from error
            except Unready as error:
                raise Unable(str(error)) from error
            except SetupError as error:
                raise Refused(str(error)) from error

    def _postponed(self) -> Postponed:
        return Postponed(f"waiting for another import into {self._table} from {self._source}", WAIT_SECONDS)

    async def _is_ahead(self, session: AsyncConnection | AsyncSession) -> bool:
        fresh = self._run.checkpoint is None
        return await turns.is_ahead(session, self._table, self._source, id_=self._run.id, fresh=fresh)

    def _reached(self, progress: Progress) -> None:
        self._progress = progress

    async def _save(self, connection: AsyncConnection, reached: Checkpoint) -> None:
        """Keep how far it came, in the window's own transaction.

        Raises:
            Postponed: another job goes first after all. It was asked for meanwhile, or had the lock when this one looked.
        """
        if self._run.checkpoint is None and await self._is_ahead(connection):
            raise self._postponed()
        known = self._progress
        counted = {"done": min(reached.merged, known.total), "total": known.total} if known and known.stage == "merging" else {}
        await self._run.save(connection, msgspec.to_builtins(reached), **counted)

    def _telling(self) -> AbstractAsyncContextManager[None]:
        return beside(self._tell(), f"progress of job {self._run.id}")

    async def _tell(self) -> None:
        while True:
            found = self._progress
            if found:
                await self._run.tell(done=found.done, total=found.total, message=MESSAGES[found.stage])
            await asyncio.sleep(TOLD_SECONDS)


async def _forgotten(database: Database, declared: Import) -> None:
    """Have caches forget what was written: who hears that the job is done asks for it, sooner than its notes are overdue."""
    async with database.writing() as unit:
        for table in (declared.table, *(reference.table for reference in declared.references)):
            unit.noticed.table(table.name)


def _told(file: Spooled, links: Links) -> dict[str, Any]:
    """What the job's row says of a file."""
    return {"file": file.id, "name": file.name, "size": file.size, "link": links.to(file.id)}
