"""`shelfmark serve`: the web server, with what is configured."""

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from service import settings
from service.app import create_app
from service.cli.environment import exported
from service.errors import SetupError
from service.local.urls import database_url
from service.settings import Settings
from service.telemetry import configure_logging

FACTORY = "service.cli.serving:application"


def run(**options: Any) -> None:
    """Serve until a signal says stop.

    Raises:
        SetupError: a setting is missing, or the port is taken.
    """
    loaded = settings.load(**options)
    loaded.signing()
    database_url(loaded)
    if not is_free(loaded.host, loaded.port):
        raise SetupError(f"Port {loaded.port} of {loaded.host} is taken. Name another one with --port or SHELFMARK_PORT.")
    configure_logging(loaded)
    with exported(loaded):
        uvicorn.run(FACTORY, factory=True, **web(loaded), workers=loaded.web_concurrency)


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
    }


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
