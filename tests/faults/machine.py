"""How late the machine itself is, so that a bound in milliseconds can be told from a busy machine: the control of such tests.

A process of its own does a millisecond of work a hundred times a second, and writes down how much later than that each was done.
What a service is promised to do in time it does that much later at the most.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TURNS = 3
"""How often a request waits for the processor at the least: when it is sent, when it is answered, when the answer is taken."""
WORKING = """
import time
while True:
    began, enough = time.monotonic(), time.process_time() + 0.001
    while time.process_time() < enough:
        pass
    time.sleep(0.009)
    print(began, time.monotonic() - began - 0.01, flush=True)
"""


@dataclass(frozen=True)
class Machine:
    """What the process has written."""

    file: Path

    def late(self, since: float, until: float) -> list[float]:
        """Seconds by which each piece of work was late that went on within some time, on the monotonic clock."""
        pairs = [line.split() for line in self.file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        found = [(float(began), float(late)) for began, late in pairs]
        return [late for began, late in found if began < until and began + late > since]

    def stood(self, since: float, until: float) -> float:
        """Seconds by which all of them together were late: by so much may something be late that took this time."""
        return sum(self.late(since, until))

    def quantile(self, of: float, since: float, until: float) -> float:
        """The seconds that a part of them exceeds; 0 where there were none."""
        found = sorted(self.late(since, until))
        return found[min(int(len(found) * of), len(found) - 1)] if found else 0.0


@contextmanager
def watched() -> Iterator[Machine]:
    """The machine, for as long as the block lasts."""
    with tempfile.NamedTemporaryFile(prefix="sm-", suffix=".late") as file:
        process = subprocess.Popen([sys.executable, "-c", WORKING], stdout=file)
        try:
            yield Machine(Path(file.name))
        finally:
            process.kill()
            process.wait()
