"""The servers of `shelfmark up`, looked after while it runs: one that dies is begun anew, and a line says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from rich.console import Console

from service.errors import SetupError
from service.local.servers import revive

LOOK_SECONDS, LOOK_MOST_SECONDS = 1.0, 30.0
"""How often it is looked; less often where one dies again and again."""
LONG_SECONDS = 60.0
"""After which one that dies is replaced without much waiting."""


@contextmanager
def tended(directory: Path, console: Console) -> Iterator[None]:
    """Look after the servers of a directory for as long as the block lasts.

    Args:
        directory: where they run.
        console: is told when one died, or can't be begun anew.
    """
    ending = Event()
    thread = Thread(target=_tend, args=(directory, console, ending), name="tending", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _tend(directory: Path, console: Console, ending: Event) -> None:
    died: list[str] = []

    def tell(name: str) -> None:
        died.append(name)
        console.print(f"{name} has died, and is begun anew. Its log is in {directory}/.")

    pause, last = LOOK_SECONDS, monotonic()
    while not ending.wait(pause):
        died.clear()
        try:
            revive(directory, tell)
        except SetupError as error:
            console.print(str(error))
        if died:
            pause, last = min(2 * pause, LOOK_MOST_SECONDS), monotonic()
        elif monotonic() - last > LONG_SECONDS:
            pause = LOOK_SECONDS
