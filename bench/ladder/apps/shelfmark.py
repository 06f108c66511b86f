"""This service with one table, in the place of the library's: prepared once, then served as `shelfmark serve` does.

    DATABASE_URL=... SHELFMARK_SECRETS=... python -m bench.ladder.apps.shelfmark prepare | serve

`prepare` makes the service's tables in an empty database and an API key, which it prints.
Both read the settings of the environment.
"""

import asyncio
import sys
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from service import schema, settings, tables
from service.cli import serving
from service.db import keys
from service.db.keys import Granted
from service.http.tokens import Signatures, new
from service.local.urls import database_url
from service.migrations import recording
from service.migrations.rowversion import CREATE_FUNCTION, NAME

TRIGGER = f"CREATE OR REPLACE TRIGGER {NAME} BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION {NAME}()"
SCOPES = ("items:read", "items:write")


def own_table() -> None:
    """Have the service find this table, and no other: what deleting the library's files does."""
    tables.__path__[:] = [str(Path(__file__).parents[1] / "tables")]


def application() -> FastAPI:
    """The application of one process, set up from the environment. Somebody wants to hear of writes, so that each is noted."""
    own_table()
    app = serving.application()
    app.state.service.database.outbox.register("ladder")
    return app


async def prepared() -> str:
    """Make what is missing; a new API key."""
    loaded = settings.load()
    token = new()
    engine = create_async_engine(database_url(loaded), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(schema.metadata().create_all)
        await connection.exec_driver_sql(CREATE_FUNCTION)
        await connection.exec_driver_sql(TRIGGER)
        await connection.run_sync(recording.create)
        await connection.run_sync(recording.record, schema.metadata())
        await connection.exec_driver_sql(f"DELETE FROM {keys.KEYS.name}")
        await keys.add(connection, Signatures(loaded.signing()).sign(token.encode()), Granted("ladder", SCOPES, {}))
    await engine.dispose()
    return token


def main() -> None:
    """Prepare or serve."""
    own_table()
    if sys.argv[1] == "prepare":
        sys.stdout.write(asyncio.run(prepared()) + "\n")
        return
    serving.FACTORY = "bench.ladder.apps.shelfmark:application"
    serving.run()


if __name__ == "__main__":
    main()
