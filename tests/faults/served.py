"""A service in a process of its own, as deployments run it, and ways to look at it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures.keys import SECRET
from tests.fixtures.processes import SHELFMARK, Running, answers, running, until, unused_port

UNLIMITED = {"SHELFMARK_KEY_REQUESTS_PER_SECOND": "0", "SHELFMARK_ADDRESS_REQUESTS_PER_SECOND": "0"}
"""What is asked of a service here is what it can do, and a quick machine asks more than any one key may."""


@dataclass(frozen=True)
class Serving:
    """A running service.

    Attributes:
        run: its first process.
        port: where it listens, on 127.0.0.1.
    """

    run: Running
    port: int

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def resident_bytes(self) -> int:
        """The most memory that its first process had so far."""
        return peak_of(self.run.process.pid)


def peak_of(process_id: int) -> int:
    """The most memory that a process had so far, in bytes."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) * 1024


@contextmanager
def served(database_url: str, *, clock: str | None = None, **environment: str) -> Iterator[Serving]:
    """A service that is ready; the tests' key works.

    Args:
        database_url: of a database that has been migrated.
        clock: by how much its clock is off, as `+1h`; needs faketime. What measures spans of time isn't: no clock that is set wrong
            makes seconds longer.
        environment: settings; by default no key and no address has a limit.
    """
    folder = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    port = unused_port()
    given = {"DATABASE_URL": database_url, "SHELFMARK_SECRETS": SECRET, "SHELFMARK_PORT": str(port), "DONT_FAKE_MONOTONIC": "1"}
    given |= UNLIMITED | environment
    try:
        before = ("faketime", "-f", clock) if clock else ()
        with running(folder, *before, SHELFMARK, "serve", **given) as run:
            until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), run.said)
            yield Serving(run, port)
    finally:
        shutil.rmtree(folder)
