"""The one place where everything of the web service meets: settings, database, tables, routes, problems."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy import text
from starlette.datastructures import State
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from service import schema, settings
from service.cache.caching import Cache
from service.contract.cursor import Signer
from service.db import Database
from service.db.budget import offered, refuse_excess
from service.db.catalogue import Catalogue
from service.db.encoding import ENCODING_SQL, refuse_encoding
from service.db.slow import SlowQuestions
from service.db.surface import idle
from service.errors import Problem, SetupError
from service.http import apikeys, downloads, health, jobs, metrics, pages, problems
from service.http.door import Bounding, Hosts, names_of
from service.http.draining import Draining, Traffic
from service.http.express import Express, Lanes
from service.http.following import Following
from service.http.keyring import Keyring
from service.http.layered import Layered
from service.http.layers import Answering, Heading
from service.http.leaving import Leaving, Watch
from service.http.limits import Limiting, Limits
from service.http.measured import sources
from service.http.requests import Requests
from service.http.room import Rooms
from service.http.tokens import Signatures
from service.http.uses import Service
from service.jobs.watching import Changes
from service.local.urls import database_url, redis_url
from service.settings import Settings
from service.telemetry import configure_if_bare

if TYPE_CHECKING:
    from service.telemetry.tracing import Spans

PREFIX = "/v1"
DESCRIPTION = "An index is a question the API answers. What no index serves is refused, with the line that would serve it."
SHARED_HEADERS = (
    "Age",
    "ETag",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "X-Cache",
    "X-Request-Id",
)
READ_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Server-Timing")
UNWIND_SECONDS = 1.0
NO_SPANS_OF_THE_FRAMEWORK: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)
"""FastAPI's own hold paths, queries and messages of errors; `telemetry/tracing.py` makes some without values."""
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
    app = Layered(
        title="Shelfmark",
        version=version("shelfmark"),
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": "/", "description": "This service"}],
        openapi_tags=[{"name": name, "description": f"The table {name}."} for name in schema.served()]
        + [{"name": jobs.NAME, "description": "What workers do, have done, and will do."}]
        + [{"name": "health", "description": "For whoever runs the service."}],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry=NO_SPANS_OF_THE_FRAMEWORK,
    )
    configure_if_bare()
    cache = Cache.of(loaded, redis_url(loaded), schema.kept(loaded))
    app.state.service = Service(
        loaded,
        _held(loaded, database or Database.connect(database_url(loaded), loaded), cache),
        Signer(loaded.signing(), loaded.cursor_seconds),
        _redis(loaded),
        cache,
        {kind: settings.section(kind) for kind in schema.sections()},
    )
    app.state.owned = database is None
    problems.install(app)
    pages.install(app)
    app.include_router(health.health(schema.metadata()))
    app.include_router(metrics.metrics())
    app.include_router(jobs.jobs(), prefix=PREFIX)
    app.include_router(downloads.downloads())
    for router in schema.routers():
        app.include_router(router, prefix=PREFIX)
    problems.describe(app)
    app.state.keyring = _keyring(loaded, app.state.service.database)
    apikeys.describe(app, apikeys.nobody(loaded))
    app.state.traffic, app.state.limits = Traffic(), Limits(loaded, _redis(loaded))
    app.state.lanes, app.state.rooms = Lanes(), Rooms(loaded)
    app.state.following = Following(app.state.service.database, Changes(jobs.MEMBERS), app.state.traffic)
    app.state.requests, app.state.watch = Requests(), Watch(loaded.lag_ms / 1000)
    app.state.metrics = _metrics(app.state)
    app.state.spans = _spans(loaded, app.state.service.database)
    app.user_middleware = layers(app.state)
    return app


def _held(loaded: Settings, database: Database, cache: Cache | None) -> Database:
    """The database, with what an application adds to it."""
    database.catalogue = Catalogue(schema.models())
    if loaded.slow_question_ms:
        database.slow = SlowQuestions(loaded.slow_question_ms / 1000, loaded.slow_plan_seconds)
    database.caches = cache.dropping if cache else None
    return database


def layers(state: State) -> list[Middleware]:
    """What every request passes before it meets the routes, from the outermost to the innermost: pure ASGI, one by one.

    Browsers must be able to read refusals too, so what allows that stands outside of what answers them.
    """
    loaded, database = state.service.settings, state.service.database
    reads, writes = database.reads.gate, database.writes.gate
    return [
        *([_tracing(state.spans)] if state.spans else []),
        *([Middleware(CORSMiddleware, **_sharing(loaded.cors_origins))] if loaded.cors_origins else []),
        Middleware(Answering, loaded.access_log_every, loaded.slow_request_ms, state.requests),
        Middleware(Draining, state.traffic),
        Middleware(Hosts, names_of(loaded.hosts, loaded.host)),
        Middleware(Bounding, state.rooms),
        Middleware(apikeys.Knowing, state.keyring, apikeys.nobody(loaded)),
        Middleware(Limiting, state.limits),
        Middleware(Leaving, loaded.request_timeout_seconds, reads, writes, state.watch),
        Middleware(Heading),
        *([Middleware(Express, state.lanes)] if loaded.express_lane else []),
    ]


def _metrics(state: State) -> metrics.Metrics:
    """What the process counts, and with which others it shares it."""
    service: Service = state.service
    counting = sources(
        service.database,
        counted=state.requests,
        traffic=state.traffic,
        watch=state.watch,
        limits=state.limits,
        ledger=service.ledger,
        cache=service.cache,
    )
    return metrics.Metrics(counting, service.settings.metrics_directory)


def _spans(loaded: Settings, database: Database) -> "Spans | None":
    """Spans of requests and statements, where they are asked for.

    Raises:
        SetupError: OpenTelemetry isn't installed.
    """
    if not loaded.tracing:
        return None
    from service.telemetry.tracing import Spans

    spans = Spans()
    for leases in database.pools():
        spans.watch(leases.engine)
    return spans


def _tracing(spans: "Spans") -> Middleware:
    from service.http.tracing import Tracing

    return Middleware(Tracing, spans)


def _sharing(origins: Sequence[str]) -> dict[str, Any]:
    """Cross-origin requests from these origins. Keys travel in a header, so no credentials of the browser's are taken."""
    return {
        "allow_origins": origins,
        "allow_methods": problems.METHODS,
        "allow_headers": READ_HEADERS,
        "expose_headers": SHARED_HEADERS,
    }


def _keyring(loaded: Settings, database: Database) -> Keyring:
    """The API keys that a process knows.

    Raises:
        SetupError: a table is to be open to everybody, and isn't there.
    """
    unknown = [name for name in loaded.public_read if name not in schema.served()]
    if unknown:
        raise SetupError(
            f"SHELFMARK_PUBLIC_READ names {', '.join(unknown)}, and no such table is served. "
            f"There are {', '.join(schema.served())}."
        )
    return Keyring(database, Signatures(loaded.signing()), apikeys.public_of(loaded))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    await _check(service)
    if service.settings.express_lane:
        app.state.lanes.find(app)
    try:
        async with (
            service.database.catalogue.watching(service.database),
            service.database.outbox.nudge.kept(service.database),
            service.ledger.kept(service.database),
            service.database.slow.kept(service.database),
            _kept(app),
            app.state.keyring.kept(),
            service.cache.running(service.database) if service.cache else nullcontext(),
            app.state.metrics.kept(),
        ):
            yield
    finally:
        await app.state.traffic.ended(UNWIND_SECONDS)
        await app.state.following.aclose()
        await app.state.limits.aclose()
        if app.state.owned:
            await service.database.close()
        if service.redis:
            await service.redis.aclose()
        if app.state.spans:
            await asyncio.to_thread(app.state.spans.close)


def _kept(app: FastAPI) -> AbstractAsyncContextManager[None]:
    """Look after the connections, where they are the application's own."""
    service: Service = app.state.service
    return service.database.kept(lambda: _budgeted(service)) if app.state.owned else nullcontext()


async def _check(service: Service) -> None:
    """Refuse a database that would give wrong answers; warn of what serves nothing. One that is away is no reason not to start."""
    for model in schema.models():
        for line in idle(model):
            log.warning("an index serves no question", hint=line)
    for router in schema.routers():
        for line in router.undeletable():
            log.warning("a table has no DELETE route", hint=line)
    try:
        async with service.database.aside() as session:
            encoding, folded = (await session.execute(text(ENCODING_SQL))).one()
        await _budgeted(service)
    except Problem as problem:
        log.warning("the database can't be reached yet", detail=problem.detail, cause=str(problem.__cause__))
        return
    refuse_encoding(encoding, folded)


async def _budgeted(service: Service) -> None:
    """Refuse more connections than PostgreSQL has. How many a pooler takes is its own business."""
    if not service.settings.pooler:
        async with service.database.aside() as session:
            refuse_excess(service.settings, await offered(session))


def _redis(loaded: Settings) -> Redis | None:
    url = redis_url(loaded)
    return Redis.from_url(url) if url else None
