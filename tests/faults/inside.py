"""A service in the test's own process, over real sockets, so that its gates can be looked at."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from sqlalchemy import text
from starlette.responses import Response

from service.app import create_app
from service.db import Database
from service.http.scopes import Declared, open_to_all
from service.http.uses import service_of
from service.settings import Settings, load
from tests.fixtures.keys import SECRET
from tests.waiting import until

UNLIMITED = {"key_requests_per_second": 0, "address_requests_per_second": 0}
SLEEP = text("SELECT pg_sleep(CAST(:seconds AS float8))")


@dataclass(frozen=True)
class Inside:
    """A running service.

    Attributes:
        port: where it listens, on 127.0.0.1.
        database: its own.
    """

    port: int
    database: Database

    def whole(self) -> bool:
        """Whether every permit is free, nobody waits, and no connection is out."""
        return all(
            leases.gate.free == leases.gate.permits and not leases.gate.queued and not leases.pool.checkedout()
            for leases in self.database.pools()
        )


@asynccontextmanager
async def inside(url: str, **given: object) -> AsyncIterator[Inside]:
    """A service that is ready, with `/sleep` to read for some seconds, by GET, or to write, by POST."""
    settings = load(_env_file=None, database_url=url, secrets=SECRET, **UNLIMITED | given)
    app = sleeping(settings)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, loop="none", timeout_graceful_shutdown=5))
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        task = asyncio.create_task(server.serve([listening]))
        try:
            database: Database = app.state.service.database
            await until(lambda: server.started and not database.cold)
            yield Inside(int(listening.getsockname()[1]), database)
        finally:
            server.should_exit = True
            await task


def sleeping(settings: Settings) -> FastAPI:
    """The service, with routes that take as long as they are told."""
    app = create_app(settings)
    router = APIRouter(route_class=Declared)

    @router.get("/sleep")
    @open_to_all
    async def read(request: Request, seconds: float) -> Response:
        await service_of(request).database.read(lambda session: session.execute(SLEEP, {"seconds": seconds}))
        return Response(b"{}", media_type="application/json")

    @router.post("/sleep")
    @open_to_all
    async def write(request: Request, seconds: float) -> Response:
        async with service_of(request).database.writing() as unit:
            await unit.session.execute(SLEEP, {"seconds": seconds})
        return Response(b"{}", media_type="application/json")

    app.include_router(router)
    return app
