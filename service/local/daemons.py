"""A server process of ours: started in a session of its own, known by the lock it holds, stopped by a signal.

It outlives whoever started it, and a Ctrl-C in the terminal doesn't reach it.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import SetupError
from service.local.accounts import Account
from service.local.held import PAUSE_SECONDS, handed, is_held

PATIENCE_SECONDS = 30.0
"""How long a server may take to come up, or to end."""
TAIL_BYTES, TAIL_LINES = 4000, 8
# Through a shell that ends at once the server becomes no child of this process, which would have to collect it when it ends.
LAUNCHER = '"$@" &'


@dataclass(frozen=True)
class Daemon:
    """One server.

    Attributes:
        name: for messages.
        data: its own directory, in which it runs.
        lock: the file whose lock it holds as long as one of its processes lives.
        log: the file its output is added to.
        pid_file: where it writes its process number, on the first line.
        ending: the signal that ends it cleanly at once.
        answers: whether it takes requests now.
    """

    name: str
    data: Path
    lock: Path
    log: Path
    pid_file: Path
    ending: signal.Signals
    answers: Callable[[], bool]

    def runs(self) -> bool:
        """Whether it runs and takes requests."""
        return is_held(self.lock) and self.answers()


def settle(daemon: Daemon) -> bool:
    """Wait until the server either answers (true) or is gone (false): it may be half-way up, or half-way down.

    Raises:
        SetupError: neither within `PATIENCE_SECONDS`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while is_held(daemon.lock):
        if daemon.answers():
            return True
        _pause(daemon, deadline, f"A {daemon.name} runs in {daemon.data}, but didn't answer")
    return False


def launch(daemon: Daemon, command: Sequence[str], account: Account) -> None:
    """Start the server and wait until it answers.

    Raises:
        SetupError: it ended, or didn't answer within `PATIENCE_SECONDS`.
    """
    with handed(daemon.lock) as lock, daemon.log.open("ab") as log:
        before = log.tell()
        subprocess.run(  # noqa: S603 our own programs
            ["/bin/sh", "-c", LAUNCHER, "sh", *command],
            check=True,
            cwd=daemon.data,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,
            **account.arguments(),
        )
    if not settle(daemon):
        raise SetupError(f"{daemon.name} ended as it was started. {_last_words(daemon, before)}")


def end(daemon: Daemon) -> bool:
    """Stop the server and wait until its last process is gone; true if it ran.

    Raises:
        SetupError: it didn't end within `PATIENCE_SECONDS`.
    """
    if not is_held(daemon.lock):
        return False
    deadline = time.monotonic() + PATIENCE_SECONDS
    told = False
    while is_held(daemon.lock):
        told = told or _tell(daemon)
        _pause(daemon, deadline, f"{daemon.name} in {daemon.data} didn't stop")
    return True


def listens(path: Path, *, ask: bytes = b"", answer: bytes = b"") -> bool:
    """Whether a server takes connections on a unix socket and, asked something, begins its answer as expected."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(ask)
            return not ask or connection.recv(64).startswith(answer)
        except OSError:
            return False


def _tell(daemon: Daemon) -> bool:
    """Send the ending signal, once the server has written whom to send it to."""
    if not daemon.answers():
        return False
    os.kill(int(daemon.pid_file.read_text().splitlines()[0]), daemon.ending)
    return True


def _pause(daemon: Daemon, deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise SetupError(
            f"{problem} within {PATIENCE_SECONDS:.0f} s. Run the command again to wait longer; "
            f"if that doesn't help, end its processes by hand. {_last_words(daemon, 0)}"
        )
    time.sleep(PAUSE_SECONDS)


def _last_words(daemon: Daemon, since: int) -> str:
    """The end of the server's log, from byte `since` on."""
    if not daemon.log.is_file():
        return f"It wrote no log to {daemon.log}."
    with daemon.log.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(since, size - TAIL_BYTES))
        lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    return f"The end of its log, {daemon.log}:\n" + "\n".join(f"  {line}" for line in lines)
