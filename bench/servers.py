"""The server that a measurement runs against: a given one, or one of its own that doesn't outlive it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from service.local.visiting import visiting

DIRECTORY = Path(__file__).parents[1] / ".shelfmark" / "bench"
DATABASE = "shelfmark_bench"


@contextmanager
def server(url: str | None) -> Iterator[str]:
    """The URL of a PostgreSQL whose user may create databases."""
    if url:
        yield url
        return
    with visiting(DIRECTORY, durable=False) as own:
        yield own.database_url


@asynccontextmanager
async def own_database(server: str) -> AsyncIterator[str]:
    """The URL of a database of its own on a server, dropped afterwards."""
    engine = create_async_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"DROP DATABASE IF EXISTS {DATABASE}"))
        await connection.execute(text(f"CREATE DATABASE {DATABASE}"))
        try:
            yield make_url(server).set(database=DATABASE).render_as_string(hide_password=False)
        finally:
            await connection.execute(text(f"DROP DATABASE {DATABASE} WITH (FORCE)"))
    await engine.dispose()
