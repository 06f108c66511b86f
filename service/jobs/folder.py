"""A directory that all machines share, as the spool's place for bytes: written at a position, synced before a file is sealed.

Names in it are the spool's own. A file is made by its first bytes: where it is missing later, this is another directory, or
somebody has removed it. What a transaction added that was rolled back lies beyond the size that the database knows, and is
overwritten by the next one.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from service.errors import SetupError

READ_BYTES = 1 << 20
PRIVATE = 0o600


class Folder:
    """The files of one shared directory. Everything here blocks: it is for threads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def at(self, place: str) -> Path:
        """Where a file is."""
        return self.path / place

    def write(self, place: str, position: int, data: bytes) -> None:
        """Put bytes at a position of a file; at its beginning, it is made if it isn't there."""
        handle = self._opened(place, make=position == 0)
        try:
            os.lseek(handle, position, os.SEEK_SET)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
        finally:
            os.close(handle)

    def sync(self, place: str, size: int) -> None:
        """Cut a file at its size, and have the disk keep it and its name."""
        handle = self._opened(place, make=size == 0)
        try:
            os.ftruncate(handle, size)
            os.fsync(handle)
        finally:
            os.close(handle)
        self._sync_names()

    def read(self, place: str, position: int, most: int = READ_BYTES) -> bytes:
        """The bytes at a position; none beyond the end."""
        with self.at(place).open("rb") as file:
            file.seek(position)
            return file.read(most)

    def remove(self, place: str, *, there: bool = False) -> None:
        """Remove a file, if it is there.

        Args:
            place: its name.
            there: whether it should be. Where no file at all is, a share may not be mounted, and the file come back.

        Raises:
            FileNotFoundError: that is so.
        """
        try:
            self.at(place).unlink()
        except FileNotFoundError:
            if there and next(self.path.iterdir(), None) is None:
                raise

    def check(self) -> None:
        """Write a file, sync, read and remove it.

        Raises:
            SetupError: that can't be done.
        """
        place, content = f"check-{uuid4().hex}", b"shelfmark"
        try:
            try:
                self.write(place, 0, content)
                self.sync(place, len(content))
                same = self.read(place, 0) == content
            finally:
                self.remove(place)
        except OSError as error:
            raise SetupError(
                f"SHELFMARK_SPOOL_DIRECTORY ({self.path}) can't be written to: {error.strerror}. It must be a directory that every "
                "process of the service reads and writes; unset, files are kept in the database."
            ) from None
        if not same:
            raise SetupError(f"SHELFMARK_SPOOL_DIRECTORY ({self.path}) doesn't give back what was written to it.")

    def _opened(self, place: str, *, make: bool) -> int:
        return os.open(self.at(place), os.O_WRONLY | (os.O_CREAT if make else 0), PRIVATE)

    def _sync_names(self) -> None:
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_directory(path: Path | None) -> None:
    """Refuse a directory that is set for files and can't be used.

    Raises:
        SetupError: it can't.
    """
    if path is not None:
        Folder(path).check()


def pieces(data: bytes, most: int) -> Iterator[bytes]:
    """Bytes in pieces of at most so many."""
    for begin in range(0, len(data), most):
        yield data[begin : begin + most]
