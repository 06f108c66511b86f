"""`shelfmark up`: everything on this machine, from nothing to requests that work."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from rich.console import Console

from service import local, migrations, schema, settings
from service.app import PREFIX, create_app
from service.cli.admitting import admit
from service.cli.attending import attended
from service.cli.ports import free_port, origin
from service.cli.sampling import fill
from service.cli.serving import meeting, web
from service.cli.tending import tended
from service.cli.welcome import welcome
from service.http.tokens import Signatures
from service.jobs.folder import check_directory
from service.local.header import NAME
from service.local.visiting import visiting
from service.settings import Settings
from service.telemetry import configure_logging

TICKS = 3  # of uvicorn's main loop, which ticks ten times a second
WORKERS = 1  # beside the web process
SIGNALLED = 128  # a shell's exit code for a signal, less its number
console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def run(**options: Any) -> None:
    """Start what isn't running, and serve until Ctrl-C.

    Raises:
        SetupError: a setting can't be used, a server can't be started, or no port is free.
    """
    asked = settings.load(**options)
    check_directory(asked.spool_directory)
    if asked.database_url:
        console.print("DATABASE_URL is set, and not used: `up` has a database of its own. `shelfmark serve` uses the one you set.")
    _hear_signals()
    free_port(asked.host, asked.port)  # refuses a host that can't be, before anything is made
    with suppress(KeyboardInterrupt), visiting(asked.directory) as servers:
        console.print(f"PostgreSQL and Redis {'were running already' if servers.found else 'started'} in {asked.directory}/")
        loaded = _with_servers(asked, servers, options)
        migrations.upgrade(servers.database_url)
        fill(servers.database_url, loaded.sample_books, console)
        let_in = partial(admit, servers.database_url, Signatures(loaded.signing()), loaded.directory)
        admitted = let_in()
        configure_logging(loaded)
        told = welcome(origin(loaded.host, loaded.port), PREFIX, schema.routers(), loaded.directory / NAME)
        with meeting(loaded, 1 + WORKERS) as shared, tended(loaded.directory, console), attended(shared, console):
            config = uvicorn.Config(create_app(shared), **web(shared), log_level="warning")
            _Announcing(config, told, None if admitted else let_in).run()


def _hear_signals() -> None:
    """End in order: uvicorn drains and then raises the signal again, when the servers are still to be stopped."""
    signal.signal(signal.SIGTERM, _leave)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _hang_up)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(SIGNALLED + number)


def _hang_up(_number: int, _frame: FrameType | None) -> None:
    """The terminal was closed; uvicorn knows SIGTERM only."""
    signal.raise_signal(signal.SIGTERM)


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


class _Announcing(uvicorn.Server):
    """Says where the service is, once it can be called.

    Attributes:
        let_in: what makes the key work that is named there; tried again until it does, for a database whose first
            migration is being written.
    """

    def __init__(self, config: uvicorn.Config, welcome: str, let_in: Callable[[], bool] | None) -> None:
        super().__init__(config)
        self.welcome, self.let_in = welcome, let_in

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            console.print(self.welcome)

    async def on_tick(self, counter: int) -> bool:
        if self.let_in and counter % TICKS == 0 and await asyncio.to_thread(self.let_in):
            self.let_in = None
        return await super().on_tick(counter)
