"""What the load of `bench.overload` goes to: this service, and plain FastAPI over SQLAlchemy's pool, each with the same slow route.

Run by uvicorn, as factories: `bench.overloaded:gated`, `bench.overloaded:plain`. Both read the settings of the environment.
"""

from fastapi import APIRouter, FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.responses import Response

from service import settings
from service.app import create_app
from service.http.scopes import Declared, open_to_all
from service.http.uses import service_of
from service.local.urls import database_url
from service.telemetry import configure_logging

HOLD_MS = 100
"""Long enough that ten times of what can be done is not more than one process can ask."""
SLOWLY = text("SELECT pg_sleep(CAST(:seconds AS float8))")
ANSWER = b'{"status":"done"}'


def gated() -> FastAPI:
    """This service, with a route that holds a connection for some milliseconds."""
    loaded = settings.load()
    configure_logging(loaded)
    app = create_app(loaded)
    router = APIRouter(route_class=Declared)

    @router.get("/slow")
    @open_to_all
    async def slow(request: Request, ms: float) -> Response:
        await service_of(request).database.read(lambda session: session.execute(SLOWLY, {"seconds": ms / 1000}))
        return Response(ANSWER, media_type="application/json")

    app.include_router(router)
    return app


def plain() -> FastAPI:
    """What one writes without a gate: as many connections, and the pool's own queue."""
    loaded = settings.load()
    engine = create_async_engine(database_url(loaded), pool_size=loaded.read_pool_size or 1, max_overflow=0)
    app = FastAPI()

    @app.get("/slow")
    async def slow(ms: float) -> Response:
        async with engine.connect() as connection:
            await connection.execute(SLOWLY, {"seconds": ms / 1000})
        return Response(ANSWER, media_type="application/json")

    return app
