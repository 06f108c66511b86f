"""What the first process knows of the others. How the server ends is in test_serving.py, as a process manager meets it."""

import os
import signal
import threading
import time
from pathlib import Path

from uvicorn import Config

from service.cli.stopping import Worker
from tests.fixtures.processes import until


def states(process: int | None) -> list[str]:
    """What each thread of a process is doing; T: it stands still."""
    return [stat.read_text().rpartition(") ")[2][0] for stat in Path(f"/proc/{process}/task").glob("*/stat")]


def test_a_process_that_dies_while_it_is_asked_is_dead_at_once() -> None:
    """Not after the time in which one that hangs may answer."""
    worker = Worker(Config("bench.ladder.apps.constant:app", factory=True, lifespan="off", log_config=None), [])
    worker.start()
    assert worker.pid
    assert worker.is_alive(30)
    os.kill(worker.pid, signal.SIGSTOP)  # so that it is asked, and doesn't answer
    until(lambda: set(states(worker.pid)) == {"T"})
    dying = threading.Timer(0.2, worker.process.kill)
    dying.start()
    began = time.monotonic()
    try:
        assert not worker.is_alive(30)
        assert time.monotonic() - began < 15
    finally:
        worker.kill()
        worker.join()
        dying.join()
