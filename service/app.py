"""The one place where everything of the web service meets: settings, database, tables, routes, problems."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy import text

from service import schema, settings
from service.contract.cursor import Signer
from service.db import Database
from service.db.encoding import ENCODING_SQL, refuse_encoding
from service.db.surface import idle
from service.errors import Problem
from service.http import health, layers, pages, problems
from service.http.uses import Service
from service.local.urls import database_url, redis_url
from service.settings import Settings
from service.telemetry import configure_if_bare

PREFIX = "/v1"
DESCRIPTION = "An index is a question the API answers. What no index serves is refused, with the line that would serve it."
LAYERS = (layers.Heading, layers.Answering)
"""From the innermost to the outermost."""
log = structlog.get_logger(__name__)


def create_app(given: Settings | None = None, database: Database | None = None) -> FastAPI:
    """The web application.

    Args:
        given: its settings; by default those of the environment.
        database: what it reads and writes; by default the configured one, closed when the application ends.

    Raises:
        SetupError: a setting is missing or a table can't be served.
    """
    loaded = given or settings.load()
    app = FastAPI(
        title="Shelfmark",
        version=version("shelfmark"),
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": "/", "description": "This service"}],
        openapi_tags=[{"name": name, "description": f"The table {name}."} for name in schema.served()]
        + [{"name": "health", "description": "For whoever runs the service."}],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    configure_if_bare()
    app.state.service = Service(
        loaded,
        database or Database.connect(database_url(loaded), loaded),
        Signer(loaded.signing(), loaded.cursor_seconds),
        _redis(loaded),
        {kind: settings.section(kind) for kind in schema.sections()},
    )
    app.state.owned = database is None
    problems.install(app)
    pages.install(app)
    app.include_router(health.health(schema.metadata()))
    for router in schema.routers():
        app.include_router(router, prefix=PREFIX)
    problems.describe(app)
    for layer in LAYERS:
        app.add_middleware(layer)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    await _check(service.database)
    try:
        yield
    finally:
        if app.state.owned:
            await service.database.close()
        if service.redis:
            await service.redis.aclose()


async def _check(database: Database) -> None:
    """Refuse a database that would give wrong answers; warn of what serves nothing. One that is away is no reason not to start."""
    for model in schema.models():
        for line in idle(model):
            log.warning("an index serves no question", hint=line)
    for router in schema.routers():
        for line in router.undeletable():
            log.warning("a table has no DELETE route", hint=line)
    try:
        async with database.reading() as session:
            encoding, folded = (await session.execute(text(ENCODING_SQL))).one()
    except Problem as problem:
        log.warning("the database can't be reached yet", detail=problem.detail)
        return
    refuse_encoding(encoding, folded)


def _redis(loaded: Settings) -> Redis | None:
    url = redis_url(loaded)
    return Redis.from_url(url) if url else None
