"""A disk of a few megabytes, to be filled up and to have room made on."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.local import accounts

PIECE = bytes(65_536)


@dataclass(frozen=True)
class Disk:
    """A file system of its own.

    Attributes:
        path: where it is mounted; it belongs to the user that PostgreSQL runs as.
    """

    path: Path

    @property
    def ballast(self) -> Path:
        """What fills it."""
        return self.path / "ballast"

    def fill(self) -> None:
        """Leave not a byte free."""
        with self.ballast.open("wb", buffering=0) as file:
            for piece in (PIECE, bytes(4096), bytes(1)):
                try:
                    while file.write(piece) == len(piece):
                        pass
                except OSError:
                    continue

    def make_room(self) -> None:
        """Take the ballast away."""
        self.ballast.unlink()

    def free_bytes(self) -> int:
        """Bytes that can still be written."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """Mount one at a path, which is made; it is there no more afterwards."""
    account = accounts.for_new()
    path.mkdir()
    options = f"size={megabytes}m,mode=0700,uid={account.uid},gid={account.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)
        path.rmdir()
