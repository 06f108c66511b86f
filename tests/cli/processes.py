"""Commands as a person or a deployment runs them, and ways to wait for what they do."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SHELFMARK = str(BIN / "shelfmark")
ALEMBIC = str(BIN / "alembic")
SECRET = "0123456789abcdef" * 2
BARE = {"PATH": "/usr/bin:/bin"}
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


def run(where: Path, *command: str, given: str = "", **environment: str) -> Ended:
    """Run a command to its end in a directory, with these variables and no others."""
    done = subprocess.run(
        command,
        check=False,
        cwd=where,
        env=BARE | environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Running:
    """A command that goes on, and the file that its output goes to."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text()

    def until_said(self, words: str) -> str:
        """Wait until it has printed something; all that it has printed then."""
        until(lambda: words in self.said() or self.process.poll() is not None, lambda: f"{words!r} not in: {self.said()}")
        assert words in self.said(), f"{words!r} not in: {self.said()}"
        return self.said()

    def end(self, number: signal.Signals) -> int:
        """Send a signal; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def running(where: Path, *command: str, **environment: str) -> Iterator[Running]:
    """Start a command; at the end of the block whatever is left of it is killed."""
    log = where / f"log-{time.monotonic_ns()}"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=where, env=BARE | environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield Running(process, log)
    finally:
        for process_id in [process.pid, *members(process.pid)]:
            kill(process_id)
        process.wait(PATIENCE_SECONDS)


def until(condition: Callable[[], bool], what: Callable[[], str] = lambda: "what the test waits for didn't happen") -> None:
    """Wait for a condition; fail when it doesn't come true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def kill(process_id: int) -> None:
    """Kill a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)


def members(session: int) -> list[int]:
    """The living processes of a session: a command's own and its children's, not those that were sent out of it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_session) == session and state != "Z":
            found.append(int(entry.name))
    return found


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def unused_port() -> int:
    """A port on which nobody listens."""
    with taken() as port:
        return port
