"""The shared directory as the spool uses it: in threads, with what goes wrong there told as what it is.

A thread can't be broken off. So whoever writes waits for its end, cancelled or not: a transaction that is rolled back before lets
others write to the file, and what the thread puts there afterwards is theirs no more. Where the directory hangs for longer than the
database lets a transaction do nothing (`SHELFMARK_IDLE_IN_TRANSACTION_TIMEOUT_MS`), that can't be kept.
"""

import asyncio
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from service.errors import StorageFull, Unavailable
from service.jobs.folder import Folder

P = ParamSpec("P")
T = TypeVar("T")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
FULL = "The disk that files are kept on is full, so nothing can be added to this one. All else works."
AWAY = "The directory that files are kept in can't be used right now. Try again in a moment; all else works."
log = structlog.get_logger(__name__)


class Directory:
    """The shared directory.

    Args:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self._folder = Folder(path)

    async def write(self, place: str, position: int, data: bytes) -> None:
        """Put bytes at a position of a file.

        Raises:
            FileNotFoundError: the file isn't there, though something of it should be.
            StorageFull: there is no room for them.
            Unavailable: the directory can't be used.
        """
        await to_its_end(self._told, self._folder.write, place, position, data)

    async def sync(self, place: str, size: int) -> None:
        """End a file at its size, and have the disk keep it.

        Raises:
            FileNotFoundError: as for `write`, like the others.
        """
        await to_its_end(self._told, self._folder.sync, place, size)

    async def read(self, place: str, position: int, most: int) -> bytes:
        """The bytes at a position.

        Raises:
            FileNotFoundError: the file isn't there.
            Unavailable: the directory can't be used.
        """
        return await asyncio.to_thread(self._told, self._folder.read, place, position, most)

    async def at(self, place: str) -> Path:
        """Where a file is.

        Raises:
            FileNotFoundError: as for `read`.
        """
        path = self._folder.at(place)
        await asyncio.to_thread(self._told, path.stat)
        return path

    async def remove(self, place: str, *, there: bool) -> bool:
        """Remove a file, which should be there or not; False where that can't be done now."""
        try:
            await asyncio.to_thread(self._folder.remove, place, there=there)
        except OSError as error:
            log.warning("a file that has expired can't be removed", place=place, reason=str(error))
            return False
        return True

    def _told(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Do something in this thread, and raise what goes wrong as what it means."""
        with self._as_problems():
            return call(*args, **named)

    @contextmanager
    def _as_problems(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_ROOM:
                raise StorageFull(FULL) from error
            log.warning("a file of the shared directory can't be used", directory=str(self._folder.path), reason=str(error))
            if isinstance(error, FileNotFoundError) and self._folder.path.is_dir():
                raise
            raise Unavailable(AWAY) from error


async def to_its_end(call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """What a call gives that runs in a thread. Whoever is cancelled meanwhile is so when the thread has ended."""
    thread = asyncio.ensure_future(asyncio.to_thread(call, *args, **named))
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        thread.exception()  # it was looked at
        raise cancelled
    return thread.result()
