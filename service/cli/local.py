"""`shelfmark up`: everything on this machine, from nothing to three curl lines that work."""

import asyncio
import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from rich.console import Console

from service import local, migrations, settings
from service.app import PREFIX, create_app
from service.cli.sampling import fill
from service.cli.serving import is_free, web
from service.errors import SetupError
from service.local.visiting import visiting
from service.settings import Settings
from service.telemetry import configure_logging

PORTS_TRIED = 50
SIGNALLED = 128  # a shell's exit code for a signal, less its number
console = Console(stderr=True, highlight=False)


def run(**options: Any) -> None:
    """Start what isn't running, and serve until Ctrl-C.

    Raises:
        SetupError: a server can't be started, or no port is free.
    """
    asked = settings.load(**options)
    if asked.database_url:
        console.print("DATABASE_URL is set, and not used: `up` has a database of its own. `shelfmark serve` uses the one you set.")
    signal.signal(signal.SIGTERM, _leave)  # uvicorn drains, then raises it again: the servers are still to be stopped
    with suppress(KeyboardInterrupt), visiting(asked.directory) as servers:
        console.print(f"PostgreSQL and Redis {'were running already' if servers.found else 'started'} in {asked.directory}/")
        loaded = _with_servers(asked, servers, options)
        migrations.upgrade(servers.database_url)
        fill(servers.database_url, loaded.sample_books, console)
        configure_logging(loaded)
        asyncio.run(_serve(create_app(loaded), loaded))


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(SIGNALLED + number)


def _with_servers(asked: Settings, servers: local.Servers, options: dict[str, Any]) -> Settings:
    """The settings of this run: these servers, a kept secret, a free port."""
    own = {
        "database_url": servers.database_url,
        "database_url_direct": servers.database_url,
        "redis_url": servers.redis_url,
        "secrets": asked.secrets or local.secret(asked.directory),
        "port": free_port(asked.host, asked.port),
    }
    return settings.load(**(options | own))


def free_port(host: str, port: int) -> int:
    """The first port that nobody listens on, from this one up.

    Raises:
        SetupError: none of the next ones is free.
    """
    _resolvable(host)
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        if is_free(host, candidate):
            return candidate
    raise SetupError(f"None of the {PORTS_TRIED} ports from {port} up is free on {host}. Name another one with --port.")


def _resolvable(host: str) -> None:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        raise SetupError(f"{host} is no address of this machine. Set SHELFMARK_HOST to one, for example 127.0.0.1.") from None


class _Announcing(uvicorn.Server):
    """Says where the service is, once it can be called."""

    def __init__(self, config: uvicorn.Config, welcome: str) -> None:
        super().__init__(config)
        self.welcome = welcome

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            console.print(self.welcome, soft_wrap=True)


async def _serve(app: FastAPI, loaded: Settings) -> None:
    await _Announcing(uvicorn.Config(app, **web(loaded), log_level="warning"), welcome(loaded)).serve()


def welcome(loaded: Settings) -> str:
    """What `up` prints when it is ready: where the docs are, and three requests to try."""
    base = f"http://{loaded.host}:{loaded.port}"
    tries = (
        ("the newest books", f"{PREFIX}/books?limit=3"),
        ("one author's books, newest first, in two members", f"{PREFIX}/books?author_id=1&fields=id,title&limit=3"),
        ("what no index serves, refused with the line that would serve it", f"{PREFIX}/books?ratings_count=7"),
    )
    lines = [f"  curl -s '{base}{path}'   # {meaning}" for meaning, path in tries]
    return "\n".join(
        ["", f"Shelfmark serves on {base}", f"The API is documented at {base}/docs", "", "Try:", *lines, "", "Ctrl-C ends it."]
    )
