"""Health as an orchestrator sees it: asked again and again by a process of its own, which has nothing else to do."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ASKING = """
import socket, sys, time
port, path = int(sys.argv[1]), sys.argv[2]
request = f"GET {path} HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nConnection: close\\r\\n\\r\\n".encode()
while True:
    began, status = time.monotonic(), "0"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as there:
            there.sendall(request)
            status = there.recv(1024)[9:12].decode() or "0"
    except OSError:
        pass
    print(began, status, time.monotonic() - began, flush=True)
    time.sleep(0.05)
"""


class Health(NamedTuple):
    """An answer: when it was asked for, on the monotonic clock, and the seconds that it took; status 0 is none."""

    began: float
    status: int
    took: float

    @property
    def ended(self) -> float:
        """When it came."""
        return self.began + self.took


@dataclass(frozen=True)
class Asked:
    """What a process that asks has been told."""

    file: Path

    def answers(self) -> list[Health]:
        """All of it, in the order of asking."""
        lines = [line.split() for line in self.file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [Health(float(began), int(status), float(took)) for began, status, took in lines]


@contextmanager
def asked(port: int, path: str) -> Iterator[Asked]:
    """Ask, for as long as the block lasts."""
    with tempfile.NamedTemporaryFile(prefix="sm-", suffix=".health") as file:
        process = subprocess.Popen([sys.executable, "-c", ASKING, str(port), path], stdout=file)
        try:
            yield Asked(Path(file.name))
        finally:
            process.kill()
            process.wait()
