"""The spool: files that web servers and workers all see. Uploads, rejects, exports.

Their bytes are chunks of at most 1 MiB in PostgreSQL, or lie in a directory that all machines share; rows tell of them either way.
A file is opened, appended to and sealed; only a sealed one is read. Each of these is a short transaction, or part of the unit of
work around it: so a job adds to a file in the same transaction as its checkpoint, and an upload is sealed in the one that adds its
job. What a rolled-back transaction added was never there. Files expire, and `prune` removes them.
"""

import asyncio
import datetime
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Executable, Row
from sqlalchemy.sql.dml import ReturningInsert

from service.db import Database
from service.db.session import once_more
from service.errors import Problem, ShelfmarkError
from service.jobs import files
from service.jobs.directory import Directory
from service.jobs.files import FILES
from service.jobs.folder import Folder, pieces
from service.settings import Settings

Kind = Literal["upload", "rejects", "export"]
CHUNK_BYTES = 1 << 20
PRUNED_CHUNKS = 32
"""Chunks that one transaction removes."""
LEFT_MOST = 100
"""Files of the shared directory that can't be removed, after which it is left alone: it may be away."""
NAME_CHARACTERS = 200
WAITS_SECONDS = (0.1, 0.5, 1.0, 2.0)
"""Between tries to read a chunk: a file is long, and the database may be busy, or away, for a moment."""
UNSEALED = datetime.timedelta(hours=1)
A_WEEK = datetime.timedelta(days=7)


class FileGone(ShelfmarkError):
    """A file of the spool that isn't there any more, or was never whole."""


class Elsewhere(FileGone):
    """A file whose bytes aren't where this process looks, though they should be somewhere."""

    def __init__(self, file: int) -> None:
        super().__init__(
            f"File {file} of the spool isn't where this process looks for it. SHELFMARK_SPOOL_DIRECTORY must lead to the same "
            "directory in every process, web servers and workers; or the file was removed by hand."
        )


@dataclass(frozen=True, slots=True)
class Spooled:
    """What is known of a file.

    Attributes:
        name: what people call it; without folders.
        asked_by: the prefix of the API key that wanted it; empty: nobody's.
        place: its name in the shared directory; None: it is in the database.
        size: bytes.
        chunks: how many times something was added.
        sealed_at: since when it is whole; None: it is still written.
        expires_at: until when it is kept.
    """

    id: int
    name: str
    kind: Kind
    asked_by: str
    place: str | None
    size: int
    chunks: int
    created_at: datetime.datetime
    sealed_at: datetime.datetime | None
    expires_at: datetime.datetime


class Spool:
    """The files of one service.

    Args:
        database: where rows are, and bytes too without a directory.
        directory: the shared one for the bytes of new files.
        lasting: for how long a sealed file is kept.
        unsealed: for how long one is kept to which nothing is added any more.
    """

    def __init__(
        self,
        database: Database,
        directory: Path | None = None,
        *,
        lasting: datetime.timedelta = A_WEEK,
        unsealed: datetime.timedelta = UNSEALED,
    ) -> None:
        self.database = database
        self._directory = Directory(directory) if directory else None
        self._lasting, self._unsealed = lasting, unsealed

    @classmethod
    def of(cls, database: Database, settings: Settings) -> "Spool":
        """The spool that the settings describe."""
        return cls(database, settings.spool_directory, lasting=datetime.timedelta(seconds=settings.spool_seconds))

    async def open(self, name: str, kind: Kind, *, asked_by: str = "", unsealed: datetime.timedelta | None = None) -> int:
        """Begin a file; its id.

        Args:
            name: what people call it; folders before it are left away.
            kind: what it is for.
            asked_by: the prefix of the API key that wants it.
            unsealed: for how long it is kept if nothing is added.
        """
        place = uuid4().hex if self._directory else None
        return await self._added(files.added(plain(name), kind, asked_by, place, unsealed or self._unsealed))

    @once_more
    async def append(self, file: int, data: bytes) -> None:
        """Add bytes at the end of a file. They are there once the unit of work is that this is part of; if any is, else at once.

        Raises:
            FileGone: it is sealed, or has expired.
            StorageFull: there is no room for them.
        """
        parts = list(pieces(data, CHUNK_BYTES))
        async with self.database.writing() as unit:
            grown = files.grown(file, len(data), len(parts), self._unsealed)
            row = (await unit.session.execute(grown.returning(FILES.c.place, FILES.c.size, FILES.c.chunks))).one_or_none()
            if row is None:
                raise FileGone(f"File {file} of the spool is sealed or gone: nothing can be added to it.")
            if row.place is not None:
                with _there(file):
                    await self._shared(file).write(row.place, row.size - len(data), data)
            elif parts:
                rows = [
                    {"file_id": file, "number": number, "bytes": part} for number, part in enumerate(parts, row.chunks - len(parts))
                ]
                await unit.session.execute(files.CHUNKS.insert(), rows)

    @once_more
    async def seal(self, file: int, lasting: datetime.timedelta | None = None, *, name: str | None = None) -> Spooled:
        """End a file: from here on it can be read, and nothing added.

        Args:
            file: its id.
            lasting: for how long it is kept.
            name: what people call it, if that wasn't known when it was opened.

        Raises:
            FileGone: it is sealed already, or has expired.
        """
        async with self.database.writing() as unit:
            row = (
                await unit.session.execute(files.sealed(file, lasting or self._lasting, name and plain(name)).returning(FILES))
            ).one_or_none()
            if row is None:
                raise FileGone(f"File {file} of the spool is sealed or gone: it can't be ended.")
            if row.place is not None:
                with _there(file):
                    await self._shared(file).sync(row.place, row.size)
            return _spooled(row)

    async def find(self, file: int) -> Spooled:
        """What is known of a file.

        Raises:
            FileGone: nothing, since it has expired.
        """
        row: Row[Any] | None = (await self.database.read(lambda session: session.execute(files.found(file)))).one_or_none()
        if row is None:
            raise FileGone(f"File {file} of the spool is gone: it was never there, or has expired.")
        return _spooled(row)

    async def read(self, file: int) -> AsyncIterator[bytes]:
        """The bytes of a sealed file, a chunk at a time. No connection is held between two of them.

        Raises:
            FileGone: it isn't sealed, or has expired.
        """
        known = await self._whole(file)
        position, number = 0, 0
        while position < known.size:
            data = await self._patiently(known, number, position)
            if not data:
                raise FileGone(f"File {file} of the spool is gone: it expired while it was read.")
            yield data
            position, number = position + len(data), number + 1

    @asynccontextmanager
    async def local(self, file: int) -> AsyncIterator[Path]:
        """A sealed file as one of this machine, for as long as the block lasts. It must not be changed.

        Raises:
            FileGone: it isn't sealed, or has expired.
            Elsewhere: its bytes aren't where this process looks.
        """
        known = await self._whole(file)
        if known.place is not None:
            with _there(file):
                path = await self._shared(file).at(known.place)
            yield path
            return
        with tempfile.NamedTemporaryFile(prefix="shelfmark-") as copy:
            async for data in self.read(file):
                await asyncio.to_thread(copy.write, data)
            copy.flush()
            yield Path(copy.name)

    async def keep(self, path: Path, name: str, kind: Kind, *, asked_by: str = "") -> Spooled:
        """Add a file of this machine, as a sealed one."""
        file, position, here = await self.open(name, kind, asked_by=asked_by), 0, Folder(path.parent)
        while data := await asyncio.to_thread(here.read, path.name, position, CHUNK_BYTES):
            await self.append(file, data)
            position += len(data)
        return await self.seal(file)

    async def release(self, file: int, lasting: datetime.timedelta = datetime.timedelta()) -> None:
        """Keep a file no longer than for a while from now: nobody needs it any more."""
        async with self.database.writing() as unit:
            await unit.session.execute(files.shortened(file, lasting))

    async def abandon(self, file: int) -> None:
        """Keep a file no longer that couldn't be sealed. One that was all the same, though nobody could be told, stays."""
        async with self.database.writing() as unit:
            await unit.session.execute(files.abandoned(file))

    async def prune(self) -> int:
        """Remove what has expired; how many files that were. In short transactions, and any number may run at once.

        What can't be removed from the shared directory is left for the next time.
        """
        count, left = 0, list[int]()
        while (row := await self._condemned(left)) is not None:
            if row.place is not None and not await self._shared(row.id).remove(row.place, there=row.size > 0):
                left.append(row.id)
                continue
            while await self._rows(files.emptied(row.id, PRUNED_CHUNKS)) == PRUNED_CHUNKS:
                pass
            await self._rows(files.removed(row.id))
            count += 1
        return count

    async def _whole(self, file: int) -> Spooled:
        known = await self.find(file)
        if known.sealed_at is None:
            raise FileGone(f"File {file} of the spool is still written: it can't be read yet.")
        return known

    async def _patiently(self, known: Spooled, number: int, position: int) -> bytes:
        for seconds in WAITS_SECONDS if number else ():
            try:
                return await self._chunk(known, number, position)
            except Problem as problem:
                if problem.retry_after is None:
                    raise
                await asyncio.sleep(seconds)
        return await self._chunk(known, number, position)

    async def _chunk(self, known: Spooled, number: int, position: int) -> bytes:
        if known.place is not None:
            most = min(CHUNK_BYTES, known.size - position)
            with _there(known.id):
                return await self._shared(known.id).read(known.place, position, most)
        return await self.database.read(lambda session: session.scalar(files.chunk(known.id, number))) or b""

    def _shared(self, file: int) -> Directory:
        if self._directory is None:
            raise Elsewhere(file)
        return self._directory

    @once_more
    async def _condemned(self, left: Sequence[int]) -> Row[Any] | None:
        shared = self._directory is not None and len(left) < LEFT_MOST
        async with self.database.writing() as unit:
            condemning = files.condemned(shared=shared, left=left).returning(FILES.c.id, FILES.c.place, FILES.c.size)
            return (await unit.session.execute(condemning)).one_or_none()

    @once_more
    async def _added(self, adding: ReturningInsert[int]) -> int:
        async with self.database.writing() as unit:
            return (await unit.session.execute(adding)).scalar_one()

    @once_more
    async def _rows(self, statement: Executable) -> int:
        async with self.database.writing() as unit:
            result: Any = await unit.session.execute(statement)
            return int(result.rowcount)


def plain(name: str) -> str:
    """A name as the spool keeps it: the last part of a path of any system, without characters that show nothing."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(character for character in last if character.isprintable()).strip(" .")
    return shown[-NAME_CHARACTERS:] or "file"


@contextmanager
def _there(file: int) -> Iterator[None]:
    """Say that a file isn't in the directory, where that is so."""
    try:
        yield
    except FileNotFoundError as error:
        raise Elsewhere(file) from error


def _spooled(row: Row[Any]) -> Spooled:
    return Spooled(**{field.name: getattr(row, field.name) for field in fields(Spooled)})
