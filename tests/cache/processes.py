"""Several processes of one service that share a database and a Redis, each of which may be killed and started again."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from tests.faults.served import UNLIMITED
from tests.fixtures.keys import SECRET
from tests.fixtures.processes import REPOSITORY, Running, answers, running, until, unused_port

JSON_LINES = {"SHELFMARK_LOG_FORMAT": "json", "SHELFMARK_ACCESS_LOG_EVERY": "0"}
LOST = "the connection to Redis was lost"


class Processes:
    """A service of several processes, each on a port of its own.

    Attributes:
        ports: where they listen.
    """

    def __init__(self, folder: Path, database_url: str, redis_urls: Sequence[str], mistakes: Sequence[str]) -> None:
        self.ports = [unused_port() for _ in redis_urls]
        self._folder, self._database_url, self._redis_urls, self._mistakes = folder, database_url, redis_urls, mistakes
        self._running: dict[int, Running] = {}
        self._all: list[Running] = []
        self._stack = ExitStack()

    def start(self, *numbers: int) -> None:
        """Start some of them, and wait until they answer."""
        for number in numbers:
            given = {"DATABASE_URL": self._database_url, "REDIS_URL": self._redis_urls[number], "SHELFMARK_SECRETS": SECRET}
            given |= (
                {
                    "SHELFMARK_PORT": str(self.ports[number]),
                    "PYTHONPATH": str(REPOSITORY),
                    "SHELFMARK_LAG_MS": "10000",
                }
                | UNLIMITED
                | JSON_LINES
            )
            command = (sys.executable, "-m", "tests.cache.serving", *self._mistakes)
            self._running[number] = self._stack.enter_context(running(self._folder, *command, **given))
            self._all.append(self._running[number])
        for number in numbers:
            until(partial(answers, f"http://127.0.0.1:{self.ports[number]}/readyz"), partial(self.said, number))

    def kill(self, number: int) -> None:
        """Kill one of them at once."""
        self._running[number].process.kill()
        self._running[number].process.wait()

    def said(self, number: int) -> str:
        """What one of them has printed."""
        return self._running[number].said()

    def losses(self) -> Iterator[float]:
        """When one of them found that Redis didn't answer in time, or at all, on this process's monotonic clock."""
        ahead = time.time() - time.monotonic()
        for line in "".join(one.said() for one in self._all).splitlines():
            if LOST in line:
                yield datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp() - ahead

    def close(self) -> None:
        """End all of them."""
        self._stack.close()


@contextmanager
def processes(database_url: str, redis_urls: Sequence[str], *mistakes: str) -> Iterator[Processes]:
    """As many processes as there are ways to Redis, ready.

    Args:
        database_url: of a database that has been migrated.
        redis_urls: how each of them reaches Redis.
        mistakes: that all of them make: see `serving.py`.
    """
    folder = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    made = Processes(folder, database_url, redis_urls, mistakes)
    try:
        made.start(*range(len(redis_urls)))
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)
