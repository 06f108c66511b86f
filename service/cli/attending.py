"""The worker that `shelfmark up` keeps beside its web process: a process of its own, begun anew when it dies, ended with it."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Lock, Thread
from time import monotonic

from rich.console import Console

from service.cli.environment import environment
from service.settings import Settings

COMMAND = (sys.executable, "-c", "from service.cli import main; main()", "worker", "--attended")
GRACE_SECONDS, UNWIND_SECONDS = 2.0, 10.0
"""What its jobs have to end before they are handed back, and what it has then to leave."""
AGAIN_SECONDS, AGAIN_MOST_SECONDS = 0.5, 30.0
LONG_SECONDS = 10.0
"""After which a worker that dies is replaced without much waiting."""


class Attendant:
    """Keeps a process running.

    Args:
        command: the process.
        environment: its own.
        console: is told when it died.
    """

    def __init__(self, command: tuple[str, ...], environment: Mapping[str, str], console: Console) -> None:
        self._command, self._environment, self._console = command, environment, console
        self._ending, self._lock = Event(), Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._attend, name="attendant", daemon=True)

    def begin(self) -> None:
        """Start it, and go on doing so when it dies."""
        self._thread.start()

    def end(self) -> None:
        """Have it end in order, and at once where that takes too long or somebody is impatient."""
        with self._lock:
            self._ending.set()
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(GRACE_SECONDS + UNWIND_SECONDS)
        except subprocess.TimeoutExpired:
            self._console.print("The worker doesn't end, and is killed. Its jobs go on when their leases are over.")
        finally:
            process.kill()
            self._thread.join()

    def _attend(self) -> None:
        pause = AGAIN_SECONDS
        while True:
            with self._lock:
                if self._ending.is_set():
                    return
                self._process = process = self._started()
            began = monotonic()
            with process:  # which closes its standard input, when it has ended
                code = process.wait()
            if self._ending.is_set():
                return
            pause = AGAIN_SECONDS if monotonic() - began > LONG_SECONDS else min(2 * pause, AGAIN_MOST_SECONDS)
            self._console.print(f"The worker has died ({_said(code)}). Another one begins in {pause:g} s.")
            if self._ending.wait(pause):
                return

    def _started(self) -> "subprocess.Popen[bytes]":
        """In a group of its own: a terminal's Ctrl-C is for the first process, which ends this one in order."""
        return subprocess.Popen(self._command, env=self._environment, stdin=subprocess.PIPE, process_group=0)  # noqa: S603 - our own


@contextmanager
def attended(loaded: Settings, console: Console) -> Iterator[None]:
    """Keep a worker for as long as the block lasts.

    Args:
        loaded: the settings that it works with.
        console: is told when it died.
    """
    hasty = loaded.model_copy(update={"job_grace_seconds": min(loaded.job_grace_seconds, GRACE_SECONDS)})
    attendant = Attendant(COMMAND, environment(hasty), console)
    attendant.begin()
    try:
        yield
    finally:
        attendant.end()


def _said(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
