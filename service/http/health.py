"""Health: `/livez` says that the process runs, `/readyz` that it can take traffic.

Ready means: the database answers within a second, its connections are made, and it has every table and column that the code needs.
What only makes the service poorer stands under `degraded` and keeps it ready: paths that are withdrawn, another revision than the
code's, Redis away.
"""

import asyncio
from collections.abc import Iterable

from fastapi import APIRouter, Request
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import MetaData, text
from starlette.responses import Response

from service.db import Database
from service.db.catalogue import RECORD
from service.db.wire import render
from service.errors import Overloaded, Problem
from service.http.revision import differing
from service.http.scopes import Declared, open_to_all
from service.http.uses import service_of

ROUND_TRIP_SECONDS = 1.0
COLUMNS = text(
    "SELECT c.relname, a.attname FROM pg_catalog.pg_attribute a"
    " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
    " WHERE c.relname = ANY(:tables) AND pg_catalog.pg_table_is_visible(c.oid) AND a.attnum > 0 AND NOT a.attisdropped"
)


def health(metadata: MetaData) -> APIRouter:
    """The two routes, for a service that needs these tables."""
    router = APIRouter(tags=["health"], route_class=Declared)

    @router.get("/livez", summary="Does the process run?")
    @open_to_all
    async def livez() -> Response:
        return Response(render({"status": "alive"}), media_type="application/json")

    @router.get("/readyz", summary="Can the process take traffic?")
    @open_to_all
    async def readyz(request: Request) -> Response:
        service = service_of(request)
        problems = await _database(service.database, metadata) or _cold(service.database)
        withdrawn = map(str, service.database.catalogue.withdrawn.values())
        behind = [] if problems else await differing(service.database)
        degraded = [*withdrawn, *behind, *await _redis(service.redis)]
        content = {"status": "unready" if problems else "ready", "problems": problems, "degraded": degraded}
        return Response(render(content), 503 if problems else 200, media_type="application/json")

    return router


async def missing(database: Database, metadata: MetaData) -> list[str]:
    """Tables and columns that the code needs and the database doesn't have.

    Raises:
        Problem: the database can't be asked.
    """
    async with database.aside() as session:
        rows = await session.execute(COLUMNS, {"tables": [*(table.name for table in metadata.sorted_tables), RECORD]})
        found = {(table, column) for table, column in rows}
    return list(_missing(metadata, found))


def _missing(metadata: MetaData, found: set[tuple[str, str]]) -> Iterable[str]:
    present = {table for table, _ in found}
    if RECORD not in present:
        yield f"table {RECORD} is missing: run `shelfmark migrate`"
    for table in metadata.sorted_tables:
        if table.name not in present:
            yield f"table {table.name} is missing: run `shelfmark migrate`"
        else:
            lost = [column.name for column in table.columns if (table.name, column.name) not in found]
            yield from (f"column {table.name}.{column} is missing: run `shelfmark migrate`" for column in lost)


async def _database(database: Database, metadata: MetaData) -> list[str]:
    try:
        async with asyncio.timeout(ROUND_TRIP_SECONDS):
            return await missing(database, metadata)
    except (TimeoutError, Overloaded):  # the second where others ask too, and none is answered
        return [f"the database didn't answer within {ROUND_TRIP_SECONDS:.0f} s"]
    except Problem as problem:
        return [problem.detail]


def _cold(database: Database) -> list[str]:
    return [database.cold] if database.cold else []


async def _redis(redis: Redis | None) -> list[str]:
    if redis is None:
        return ["no Redis is set: REDIS_URL"]
    try:
        async with asyncio.timeout(ROUND_TRIP_SECONDS):
            await redis.ping()
    except (RedisError, OSError, TimeoutError):
        return ["Redis can't be reached"]
    return []
