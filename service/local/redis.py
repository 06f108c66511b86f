"""Redis from a wheel or the PATH, reached by a unix socket only; durable, it logs every write to its append-only file."""

import signal
from pathlib import Path

from service.local import programs
from service.local.daemons import Daemon, end, launch, listens, settle
from service.local.places import Places

SOCKET = "redis.sock"


def daemon(places: Places) -> Daemon:
    """The server as it stands in its places, running or not."""
    data = places.data / "redis"
    return Daemon(
        name="Redis",
        data=data,
        lock=places.data / "redis.lock",
        log=places.directory / "redis.log",
        pid_file=data / "redis.pid",
        ending=signal.SIGTERM,
        answers=lambda: listens(places.sockets / SOCKET, ask=b"PING\r\n", answer=b"+PONG"),
    )


def start(places: Places, *, durable: bool) -> bool:
    """Make sure the server is there; true if it was running already.

    Raises:
        SetupError: it can't be started; the sentence says why and what to do.
    """
    server = daemon(places)
    if settle(server):
        return True
    program = programs.redis(places.account)
    if not server.data.exists():
        server.data.mkdir(mode=0o700)
        places.account.own(server.data)
    launch(server, _command(places, program, server, durable=durable), places.account)
    return False


def stop(places: Places) -> bool:
    """End the server and wait for it; true if it ran."""
    return end(daemon(places))


def _command(places: Places, program: Path, server: Daemon, *, durable: bool) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(places.sockets / SOCKET),
        "unixsocketperm": "700",
        "dir": str(server.data),
        "pidfile": str(server.pid_file),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes" if durable else "no",
    }
    return [str(program), *(part for name, value in settings.items() for part in (f"--{name}", value))]
