"""`shelfmark serve`: the web server, with what is configured."""

import asyncio
import math
from typing import Any

import uvicorn
from fastapi import FastAPI

from service import settings
from service.app import create_app
from service.cli.environment import exported
from service.cli.ports import require_free
from service.local.urls import database_url
from service.settings import Settings
from service.telemetry import configure_logging

FACTORY = "service.cli.serving:application"


def run(**options: Any) -> None:
    """Serve until a signal says stop.

    Raises:
        SetupError: a setting is missing, the port is taken, or the database would give wrong answers.
    """
    loaded = settings.load(**options)
    loaded.signing()
    database_url(loaded)
    require_free(loaded.host, loaded.port)
    configure_logging(loaded)
    asyncio.run(_rehearse(create_app(loaded)))
    with exported(loaded):
        uvicorn.run(FACTORY, factory=True, **web(loaded), workers=loaded.web_concurrency)


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
        "http": "httptools",
        "server_header": False,
        "timeout_graceful_shutdown": _longest(loaded),
    }


def _longest(loaded: Settings) -> int:
    """Seconds after which no request waits for the database any more: what is still open is a client that stands still."""
    return 1 + math.ceil(max(loaded.read_timeout_ms, loaded.write_timeout_ms) / 1000)
