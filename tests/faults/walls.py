"""Jobs whose every effect can be counted: walls, laid stone by stone, and those that can't be done.

As a program it is a worker that knows these jobs, or a web service that orders walls:

    python -m tests.faults.walls worker
    python -m tests.faults.walls web PORT
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from sqlalchemy import text

from service import schema, settings
from service.app import create_app
from service.cli import working
from service.db import Database, Unit
from service.http.scopes import Declared, open_to_all
from service.jobs.job import How, enqueue, job
from service.jobs.running import Run

LEASE_SECONDS = 3.0
BEGINS = """
CREATE FUNCTION begins() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN INSERT INTO begun (job_id, claim) VALUES (NEW.id, NEW.claim); RETURN NULL; END$$
"""
ON_JOBS = """
CREATE TRIGGER begins AFTER UPDATE ON shelfmark_jobs FOR EACH ROW
WHEN (NEW.state = 'running' AND OLD.state <> 'running') EXECUTE FUNCTION begins()
"""
TABLES = (
    "CREATE TABLE orders (wall text PRIMARY KEY, stones int NOT NULL, job_id bigint NOT NULL)",
    "CREATE TABLE stones (wall text NOT NULL, place int NOT NULL, claim bigint NOT NULL)",
    "CREATE TABLE hands (job_id bigint NOT NULL, claim bigint NOT NULL, process_id int NOT NULL)",
    "CREATE TABLE begun (job_id bigint NOT NULL, claim bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())",
    "CREATE TABLE orphans (job_id bigint NOT NULL, claim bigint NOT NULL, at timestamptz NOT NULL)",
    "CREATE INDEX ON begun (job_id)",
    BEGINS,
    ON_JOBS,
)
"""Nothing here is unique but an order's name: what is done twice is there twice. `begun` is written by the server itself."""
ORDER = text("INSERT INTO orders (wall, stones, job_id) VALUES (:wall, :stones, :job_id)")
LAY = text("INSERT INTO stones (wall, place, claim) VALUES (:wall, :place, :claim)")
HAND = text("INSERT INTO hands (job_id, claim, process_id) VALUES (:job_id, :claim, :process_id)")
router = APIRouter(route_class=Declared)


class Order(BaseModel):
    """A wall, as a client asks for it.

    Attributes:
        stones: how many it has.
        pause: seconds between two of them.
        after: seconds that the job is to wait.
        linger: seconds for which the transaction stays open.
        kept: False: all of it is rolled back.
    """

    wall: str
    stones: int
    pause: float = 0.0
    after: float = 0.0
    linger: float = 0.0
    kept: bool = True


class Regretted(Exception):
    """Rolls an order back."""


@job(name="test.wall", lease=LEASE_SECONDS)
async def wall(run: Run, *, wall: str, stones: int, pause: float = 0.0) -> int:
    """Lays one stone in each chunk."""
    async with run.database.writing() as unit:
        await unit.session.execute(HAND, {"job_id": run.id, "claim": run.claim, "process_id": os.getpid()})
    for place in range(run.checkpoint or 0, stones):
        async with run.chunk() as unit:
            await unit.session.execute(LAY, {"wall": wall, "place": place, "claim": run.claim})
            run.reached(place + 1, done=place + 1, total=stones)
        await asyncio.sleep(pause)
    return stones


@job(name="test.poison", lease=LEASE_SECONDS, attempts=3)
async def poison(run: Run, *, deadly: bool) -> None:
    """Fails at each attempt; a deadly one takes its worker along."""
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("This can't be done.")


async def ordered(unit: Unit, order: Order) -> int:
    """Order a wall, in a unit of work; the job's id."""
    job_id = await enqueue(wall, How(after=timedelta(seconds=order.after)), wall=order.wall, stones=order.stones, pause=order.pause)
    await unit.session.execute(ORDER, {"wall": order.wall, "stones": order.stones, "job_id": job_id})
    return job_id


async def taken(database: Database, order: Order) -> int:
    """Order a wall, in a unit of work of its own, or have it rolled back at its very end; the job's id.

    Raises:
        Regretted: it was rolled back.
    """
    async with database.writing() as unit:
        job_id = await ordered(unit, order)
        await asyncio.sleep(order.linger)
        if order.kept:
            return job_id
        raise Regretted


async def order_all(url: str, orders: Sequence[Order]) -> list[int]:
    """Order walls, in one unit of work; the jobs' ids."""
    database = Database.connect(url, settings.load(_env_file=None))
    async with database.writing() as unit:
        found = [await ordered(unit, order) for order in orders]
    await database.close()
    return found


def web() -> FastAPI:
    """The service, with a route that orders walls."""
    app = create_app(settings.load())
    database: Database = app.state.service.database

    @router.post("/walls", status_code=201)
    @open_to_all
    async def create(order: Order) -> dict[str, Any]:
        with suppress(Regretted):
            return {"id": await taken(database, order)}
        return {"id": None}

    app.include_router(router)
    return app


if __name__ == "__main__":
    if sys.argv[1] == "web":
        uvicorn.run(web(), port=int(sys.argv[2]), log_config=None, access_log=False)
    else:
        schema.OF_THE_SERVICE = (*schema.OF_THE_SERVICE, sys.modules[__name__])
        working.run(None)
