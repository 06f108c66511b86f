"""Ways to look into servers from outside, and to harm them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from service import local
from service.local import places, postgres, programs, redis
from service.local.accounts import for_new
from service.local.held import is_held
from service.local.places import Places

REPOSITORY = Path(__file__).parents[2]


def ask(servers: local.Servers, statement: str, database: str = "shelfmark") -> str:
    """Run SQL by psql; what it prints: bare values."""
    sockets = servers.database_url.partition("?host=")[2]
    psql = programs.postgres(for_new()) / "psql"
    command = [str(psql), "-XqAt", "-h", sockets, "-U", "shelfmark", "-d", database, "-c", statement]
    return subprocess.check_output(command, env={}, text=True).strip()


def tell(sockets: Path, *command: str) -> Any:
    """Run one command on the Redis whose socket stands in `sockets`."""
    with Redis(unix_socket_path=str(sockets / "redis.sock"), decode_responses=True) as client:
        return client.execute_command(*command)


def places_of(directory: Path) -> Places:
    """Where the servers of a directory are; they have run."""
    found = places.recorded(directory)
    assert found is not None
    return found


def process(directory: Path, part: Any = postgres) -> int:
    """The process number of a server that runs."""
    return int(part.daemon(places_of(directory)).pid_file.read_text().split()[0])


def kill(where: Places, part: Any) -> None:
    """Kill a server without a chance to tidy up, and wait until all its processes are gone."""
    server = part.daemon(where)
    os.kill(int(server.pid_file.read_text().split()[0]), signal.SIGKILL)
    until(lambda: not is_held(server.lock))


def kill_both(directory: Path) -> None:
    """Kill both servers."""
    for part in (postgres, redis):
        kill(places_of(directory), part)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition; fail when it doesn't come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for didn't happen"
        time.sleep(0.01)


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Another Python process that runs `code`."""
    given = {"cwd": REPOSITORY, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], **given)


def printed(started: subprocess.Popen[str]) -> str:
    """What a process prints, once it has ended well."""
    output, errors = started.communicate(timeout=60)
    assert started.returncode == 0, errors
    return output.strip()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run things as another user")
AS_NOBODY = """
import os, pwd, sys
from pathlib import Path
from service import local
from service.errors import SetupError
if os.geteuid() == 0:  # with everything imported: this Python itself may stand where only root can read
    os.setgroups([]); os.setgid(pwd.getpwnam("nobody").pw_gid); os.setuid(pwd.getpwnam("nobody").pw_uid)
"""
"""The beginning of a program that goes on as an ordinary user."""
