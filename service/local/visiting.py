"""Who uses the servers of a directory: the last one to leave turns off the light."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.local import places
from service.local.places import explained
from service.local.servers import Servers, start, stop

FILE = "visitors"


@contextmanager
def visiting(directory: Path, *, durable: bool = True) -> Iterator[Servers]:
    """The running servers of a directory, for as long as the block lasts; stopped when the last such block ends.

    Args:
        directory: where they live.
        durable: as for `start`.

    Raises:
        SetupError: they can't be started.
    """
    directory = directory.resolve()
    with explained(directory):
        places.make(directory)
        file = os.open(directory / FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_SH)  # waits for one that is just stopping them
        yield start(directory, durable=durable)
    finally:
        if _last(file):
            stop(directory)
        os.close(file)


def _last(file: int) -> bool:
    """Whether nobody else holds the file. A shared lock becomes an exclusive one only then."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
