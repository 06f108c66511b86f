"""A Redis of a test's own, to be killed, stopped and emptied; by default it remembers nothing beyond its end."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from service.local import places, redis
from service.local.places import Places


@dataclass
class OwnRedis:
    """A running server."""

    where: Places

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"unix://{self.where.sockets / redis.SOCKET}?db=0"

    def suffer(self, fault: str) -> None:
        """Be `killed`, or be `stopped`."""
        process_id = int(redis.daemon(self.where).pid_file.read_text())
        os.kill(process_id, signal.SIGKILL if fault == "killed" else signal.SIGSTOP)

    def recover(self, fault: str) -> None:
        """Be there again."""
        if fault == "stopped":
            os.kill(int(redis.daemon(self.where).pid_file.read_text()), signal.SIGCONT)
        redis.start(self.where, durable=False)

    async def forget(self) -> None:
        """Lose all that it has."""
        async with Redis.from_url(self.url) as there:
            await there.flushall()


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    """A server in a directory of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))  # a short path, for sockets
    folder.chmod(0o755)
    directory = folder / ".shelfmark"
    places.make(directory)
    made = OwnRedis(places.arrange(directory))
    redis.start(made.where, durable=False)
    try:
        yield made
    finally:
        redis.stop(made.where)
        shutil.rmtree(folder)
