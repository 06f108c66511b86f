"""Both servers at once: started, found, stopped. One command at a time works on a directory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.local import places, postgres, redis
from service.local.held import is_held, turn
from service.local.places import Places, explained

PARTS = (postgres, redis)


@dataclass(frozen=True)
class Servers:
    """How to reach the two servers.

    Attributes:
        database_url: for SQLAlchemy, with asyncpg as its driver.
        redis_url: for redis-py.
        found: whether both were running already.
    """

    database_url: str
    redis_url: str
    found: bool


def start(directory: Path, *, durable: bool = True) -> Servers:
    """Start what doesn't run of the PostgreSQL and the Redis that live in `directory`, which is made if it is missing.

    They go on running when this process ends, until `stop`. Data survive. A server that runs already keeps the mode it was
    started in.

    Args:
        directory: where data, logs and sockets are kept; `.shelfmark` of a project.
        durable: false for tests: several times quicker to write, and a crash of the machine may cost the data.

    Raises:
        SetupError: they can't be started; the sentence says why and what to do.
    """
    directory = directory.resolve()
    with explained(directory):
        places.make(directory)
        with turn(directory / "lock"):
            where = _current(directory) or places.arrange(directory)
            running = [part.start(where, durable=durable) for part in PARTS]
    return _servers(where, found=all(running))


def attach(directory: Path) -> Servers | None:
    """The servers that run in `directory`, or None unless both do. Starts nothing, makes nothing.

    Raises:
        SetupError: the directory can't be read, or belongs to another user.
    """
    return _attached(directory, lambda found: all(part.daemon(found).runs() for part in PARTS))


def attach_database(directory: Path) -> Servers | None:
    """The same for who needs the database only: its Redis may have died.

    Raises:
        SetupError: as for `attach`.
    """
    return _attached(directory, lambda found: postgres.daemon(found).runs())


def attach_either(directory: Path) -> Servers | None:
    """The same, or None if neither runs: for who finds out by itself whether one answers.

    Raises:
        SetupError: as for `attach`.
    """
    return _attached(directory, lambda found: any(part.daemon(found).runs() for part in PARTS))


def revive(directory: Path, told: Callable[[str], None]) -> None:
    """Start those of the servers of `directory` anew that have died, and say so. Nothing is done where no data are left.

    Args:
        directory: where they run.
        told: is given the name of each that has died, before it is started.

    Raises:
        SetupError: one can't be started.
    """
    with _recorded(directory) as found:
        for part in PARTS if found else ():
            server = part.daemon(found)
            if server.data.is_dir() and not is_held(server.lock):
                told(server.name)
                part.start(found, durable=True)


def stop(directory: Path) -> bool:
    """Stop both servers cleanly and wait until they are gone; whether any ran.

    Raises:
        SetupError: one doesn't end, or belongs to another user.
    """
    with _recorded(directory) as found:
        ran = [part.stop(found) for part in PARTS] if found else []
        return any(ran)


def _attached(directory: Path, enough: Callable[[Places], bool]) -> Servers | None:
    """Where the servers are, if enough of them run."""
    with _recorded(directory) as found:
        return _servers(found, found=True) if found and enough(found) else None


@contextmanager
def _recorded(directory: Path) -> Iterator[Places | None]:
    """Where the servers were last, for this command alone as long as the block lasts; None if they never ran."""
    directory = directory.resolve()
    with explained(directory):
        if not (directory / "lock").is_file():
            yield None
            return
        with turn(directory / "lock"):
            yield places.recorded(directory)


def _current(directory: Path) -> Places | None:
    """Where the servers are while one of them lives: its sockets must not move under it."""
    found = places.recorded(directory)
    lives = found and any(is_held(part.daemon(found).lock) for part in PARTS)
    return found if lives else None


def _servers(where: Places, *, found: bool) -> Servers:
    """The URLs; the path of the sockets is of a kind that needs no quoting."""
    database_url = f"postgresql+asyncpg://{postgres.NAME}@/{postgres.NAME}?host={where.sockets}"
    return Servers(database_url, f"unix://{where.sockets / redis.SOCKET}?db=0", found)
