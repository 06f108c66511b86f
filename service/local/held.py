"""Locks on files: one command at a time works on a directory, and a server is known to run by the lock it holds.

A lock (flock) belongs to an open file, which processes inherit. Whoever starts a server hands it a locked file, so the lock is
held exactly as long as any process of that server lives. No process number is trusted for that: after a crash or a restart of the
machine the number in a pid file may belong to a stranger.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import SetupError

TURN_SECONDS = 60.0
PAUSE_SECONDS = 0.01


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for other processes and threads that do.

    Raises:
        SetupError: it was not free within `TURN_SECONDS`.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        _wait(file, path)
        yield
    finally:
        os.close(file)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file at `path`; it need not exist."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _take(file)
    finally:
        os.close(file)


@contextmanager
def handed(path: Path) -> Iterator[int]:
    """The locked file for a server to inherit. Here it is closed afterwards; the server's copy keeps the lock."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if not _take(file):
            raise SetupError(f"Another process took {path} just now. Run the command again.")
        yield file
    finally:
        os.close(file)


def _take(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(file: int, path: Path) -> None:
    deadline = time.monotonic() + TURN_SECONDS
    while not _take(file):
        if time.monotonic() > deadline:
            raise SetupError(
                f"Another command has been starting or stopping the servers of {path.parent} for {TURN_SECONDS:.0f} s. "
                "Wait for it or end it, then run this again."
            )
        time.sleep(PAUSE_SECONDS)
