"""What the first process knows of the others. How the server ends is in test_serving.py, as a process manager meets it."""

import os
import signal
import threading
import time

from uvicorn import Config

from service.cli.stopping import Worker


def test_a_process_that_dies_while_it_is_asked_is_dead_at_once() -> None:
    """Not after the time in which one that hangs may answer."""
    worker = Worker(Config("bench.ladder.apps.constant:app", factory=True, lifespan="off", log_config=None), [])
    worker.start()
    assert worker.pid
    assert worker.is_alive(30)
    os.kill(worker.pid, signal.SIGSTOP)  # so that it is asked, and doesn't answer
    dying = threading.Timer(0.2, os.kill, (worker.pid, signal.SIGKILL))
    dying.start()
    began = time.monotonic()
    try:
        assert not worker.is_alive(30)
        assert time.monotonic() - began < 15
    finally:
        worker.kill()
        worker.join()
        dying.join()
