"""A newcomer: a copy of the project in an empty directory, who types what a page shows and compares what comes back.

The copy runs with this run's installed libraries, but imports the `service` of the copy. `make run` stays in the foreground for a
person; here it goes on in the background, and a second one stands for Ctrl-C and starting again.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service import local
from tests.docs.pages import ROOT, Step, prints

RUN = "make run"
READY = "Ctrl-C ends it."
ADDRESS = "127.0.0.1:8000"
START_SECONDS, STEP_SECONDS = 60, 300
LOG = "up.log"
MADE = {LOG, ".shelfmark", ".venv", ".pytest_cache", ".ruff_cache", ".hypothesis", "__pycache__"}
# The environment is installed already: make must not look whether the copied lock is newer.
PRELUDE = 'make() { command make -o .venv/installed "$@"; }\n'


class Newcomer:
    """Someone with a fresh copy of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._service: subprocess.Popen[bytes] | None = None
        self._log = folder / LOG

    def follow(self, steps: list[Step]) -> None:
        """Do what a page says, in order.

        Raises:
            AssertionError: a command failed, or printed something else than the page shows.
        """
        assert steps, "the page shows no command"
        for step in steps:
            printed = self._run(step).replace(f"127.0.0.1:{self.port}", ADDRESS)
            if step.shown is not None:
                assert prints(step.shown, printed), f"{step} shows\n{step.shown}\nbut this came\n{printed}"

    def run(self, commands: str) -> str:
        """What commands print.

        Raises:
            AssertionError: one of them failed.
        """
        script = PRELUDE + commands.replace(ADDRESS, f"127.0.0.1:{self.port}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=STEP_SECONDS,
            check=False,
        )
        printed = done.stdout.decode()
        assert done.returncode == 0, f"{commands}\nended with {done.returncode}:\n{printed}"
        return printed

    def files(self) -> dict[str, bytes]:
        """Every file of the copy that a person would see."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if not MADE.intersection(path.relative_to(self.folder).parts) and path.is_file()
        }

    def said(self) -> str:
        """What the running service has printed."""
        return self._log.read_text()

    def leave(self) -> None:
        """Press Ctrl-C, and wait until the service has ended."""
        if self._service and self._service.poll() is None:
            os.killpg(self._service.pid, signal.SIGINT)
            self._service.wait(START_SECONDS)
        self._service = None

    def _run(self, step: Step) -> str:
        if step.commands.strip() != RUN:
            return self.run(step.commands)
        self.leave()
        return self._start()

    def _start(self) -> str:
        with self._log.open("wb") as log:
            self._service = subprocess.Popen(
                ["make", "-o", ".venv/installed", "run"],
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while READY not in (printed := self._log.read_text()):
            assert self._service.poll() is None, f"{RUN} ended:\n{printed}"
            assert time.monotonic() < until, f"{RUN} isn't ready after {START_SECONDS} s:\n{printed}"
            time.sleep(0.05)
        return printed

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MAKE", "MFLAGS"))}
        return inherited | {
            "PATH": f"{self.folder / '.venv/bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            "SHELFMARK_PORT": str(self.port),
        }


@contextmanager
def newcomer() -> Iterator[Newcomer]:
    """A newcomer with a fresh copy, gone afterwards with everything that it started."""
    folder = Path(tempfile.mkdtemp(prefix="docs-"))  # short: sockets are made below it
    made = Newcomer(folder)
    try:
        folder.chmod(0o711)  # root's servers run as another user, who must get in
        _copy(folder)
        imported = made.run('python -c "import service; print(service.__file__)"').strip()
        assert Path(imported) == folder / "service" / "__init__.py", "another copy of the service is imported"
        yield made
    finally:
        try:
            made.leave()
        finally:
            local.stop(folder / ".shelfmark" / "tests")
            local.stop(folder / ".shelfmark")
            shutil.rmtree(folder)


def _copy(folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
