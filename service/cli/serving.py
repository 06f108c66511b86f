"""`shelfmark serve`: the web server, with what is configured."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import FastAPI

from service import settings
from service.app import create_app
from service.cli.environment import exported
from service.cli.ports import require_free
from service.cli.stopping import Draining, Supervising, ending_well
from service.jobs.folder import check_directory
from service.local.urls import database_url
from service.settings import Settings
from service.telemetry import configure_logging

FACTORY, PROTOCOL = "service.cli.serving:application", "service.cli.listening:Listening"
HUNG_SECONDS = 30
"""After which a process that doesn't answer the first one is replaced. One that died is replaced at once."""
UNWIND_SECONDS = 5.0
"""What a process may take to close its pools."""


def run(**options: Any) -> None:
    """Serve until a signal says stop; 0 if all that was in flight could end.

    Raises:
        SetupError: a setting is missing or can't be used, the port is taken, or the database would give wrong answers.
    """
    loaded = settings.load(**options)
    loaded.signing()
    database_url(loaded)
    check_directory(loaded.spool_directory)
    require_free(loaded.host, loaded.port)
    configure_logging(loaded)
    asyncio.run(_rehearse(create_app(loaded)))
    with meeting(loaded, loaded.web_concurrency) as shared, exported(shared):
        config = uvicorn.Config(FACTORY, factory=True, **web(loaded), workers=loaded.web_concurrency)
        if loaded.web_concurrency > 1:
            supervising = Supervising(config, loaded.drain_seconds + longest(loaded) + UNWIND_SECONDS)
            supervising.run()
            raise SystemExit(supervising.code())
        with ending_well():
            Draining(config).run()


@contextmanager
def meeting(loaded: Settings, processes: int) -> Iterator[Settings]:
    """Settings with a place where several processes add up their numbers, for as long as the block lasts."""
    if loaded.metrics_directory or processes == 1:
        yield loaded
        return
    with TemporaryDirectory(prefix="shelfmark-", ignore_cleanup_errors=True) as directory:
        yield loaded.model_copy(update={"metrics_directory": Path(directory)})


async def _rehearse(app: FastAPI) -> None:
    """Begin and end once: what would stop each process is said here, once and in a sentence."""
    async with app.router.lifespan_context(app):
        pass


def application() -> FastAPI:
    """The application of one process, set up from the environment."""
    loaded = settings.load()
    configure_logging(loaded)
    return create_app(loaded)


def web(loaded: Settings) -> dict[str, Any]:
    """What uvicorn is told."""
    return {
        "host": loaded.host,
        "port": loaded.port,
        "log_config": None,
        "access_log": False,
        "loop": "uvloop",
        "http": PROTOCOL,
        "ws": "none",
        "proxy_headers": False,
        "server_header": False,
        "timeout_keep_alive": loaded.keep_alive_seconds,
        "timeout_graceful_shutdown": longest(loaded),
        "timeout_worker_healthcheck": HUNG_SECONDS,
    }


def longest(loaded: Settings) -> int:
    """Seconds after which no request waits for the database any more: what is still open is a client that stands still."""
    return 1 + math.ceil(max(loaded.read_timeout_ms, loaded.write_timeout_ms) / 1000)
