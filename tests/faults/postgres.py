"""A PostgreSQL of a test's own, to be killed, stopped and started again."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from service import migrations
from service.local import places, postgres
from service.local.places import Places
from tests.faults.disks import small_disk
from tests.fixtures.keys import let_in


@dataclass(frozen=True)
class Postgres:
    """A running server, with a migrated database that lets the tests' key in."""

    where: Places

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.where.sockets / postgres.SOCKET

    @property
    def url(self) -> str:
        """Its database."""
        return f"postgresql+asyncpg://{postgres.NAME}@/{postgres.NAME}?host={self.where.sockets}"

    def through(self, port: int) -> str:
        """Its database, by way of a proxy."""
        return f"postgresql+asyncpg://{postgres.NAME}@127.0.0.1:{port}/{postgres.NAME}"

    def kill(self) -> None:
        """End all of its processes by force."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it stand still."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        postgres.start(self.where, durable=True)

    def stop(self) -> None:
        """End it, in order."""
        postgres.stop(self.where)

    def _signal(self, number: signal.Signals) -> None:
        first = int(postgres.daemon(self.where).pid_file.read_text().splitlines()[0])
        for pid in (first, *_children(first)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in found.read_text().split()]


@contextmanager
def own_postgres(megabytes: int | None = None) -> Iterator[Postgres]:
    """A server in a directory of its own, gone afterwards.

    Args:
        megabytes: the size of the disk that all of its data are on; None: the machine's.
    """
    directory = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        with small_disk(directory / "data", megabytes) if megabytes else nullcontext():
            where = places.arrange(directory)
            try:
                postgres.start(where, durable=True)
                yield Postgres(where)
            finally:
                with suppress(OSError):
                    Postgres(where).thaw()
                postgres.stop(where)
    finally:
        shutil.rmtree(directory)


async def prepared(server: Postgres) -> None:
    """Give it the tables, and the tests' key."""
    import asyncio

    await asyncio.to_thread(migrations.upgrade, server.url)
    await let_in(server.url)
