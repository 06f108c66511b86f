"""A contestant's server as processes: started, waited for, ended; and what processor time processes have used.

Times come from /proc: those of each living process of a tree, and those of the ended ones that their parents have collected. So
database connections that came and went count too.
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROC = Path("/proc")
START_SECONDS, STOP_SECONDS = 30.0, 15.0
LOCALHOST = "127.0.0.1"
PARENT, TIMES = 1, slice(11, 15)
"""Fields of /proc/PID/stat behind the name: the parent; user and system time, its own and of children that were waited for."""
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


class Stopped(Exception):
    """A server ended or didn't come up; the message says where its log is."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind((LOCALHOST, 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def serving(command: Sequence[str], environment: Mapping[str, str], port: int, path: str, log: Path) -> Iterator[int]:
    """The id of a process that serves, once it answers there.

    Args:
        command: what is run.
        environment: what it is told, besides this process's own.
        port: where it listens.
        path: what it answers when it is up, whatever the status.
        log: the file that what it prints goes to.

    Raises:
        Stopped: it doesn't come up.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603  # our own commands
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, stdout=file, stderr=file
        )
    try:
        _await(process, port, path, log)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in tree(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def _await(process: "subprocess.Popen[bytes]", port: int, path: str, log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS and process.poll() is None:
        connection = HTTPConnection(LOCALHOST, port, timeout=5)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
        except (OSError, HTTPException):
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()
    raise Stopped(f"the server doesn't come up; its last words are in {log}")


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for pid, fields in _every():
        children.setdefault(int(fields[PARENT]), []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def used(root: int) -> float:
    """Seconds of processor time of a process, of its living descendants, and of those that ended."""
    pids = set(tree(root))
    return sum(sum(map(int, fields[TIMES])) for pid, fields in _every() if pid in pids) * TICK_SECONDS


def resident(root: int) -> float:
    """Megabytes of memory of the largest process of a tree."""
    sizes = [0]
    for pid in tree(root):
        with contextlib.suppress(OSError):
            sizes.append(int((PROC / str(pid) / "statm").read_text().split()[1]))
    return max(sizes) * resource.getpagesize() / 1e6


def parent(pid: int, name: str) -> int | None:
    """The parent of a process of this machine; None where there is no process of such a name."""
    fields = _stat(pid)
    return int(fields[PARENT]) if fields and name in (PROC / str(pid) / "cmdline").read_text() else None


def _every() -> Iterator[tuple[int, list[str]]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            yield int(entry.name), fields


def _stat(pid: int) -> list[str] | None:
    """The fields of a process behind its name, which may contain anything."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
