"""`shelfmark sample`: an empty database filled with what the tables invent, all of it or nothing.

One transaction holds the locks, the rows, and the indexes and foreign keys, which are built at the end: whatever ends it early, a
kill -9 included, leaves the database as empty as it was.
"""

import asyncio
import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from sqlalchemy import NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service import schema, settings
from service.cli.stages import Told, watching
from service.db import drops
from service.db.filling import count_on, set_aside
from service.errors import SetupError, ShelfmarkError
from service.local.urls import database_url
from service.migrations.failures import in_sentences

UNTIL = datetime.date(2026, 9, 1)
INDEXES, TIDYING = "indexes", "statistics"
LOCK_SECONDS = 10
LOCK_NOT_AVAILABLE = "55P03"
OF_THE_TRANSACTION = (
    f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL client_connection_check_interval = '1s'",  # a command that was killed leaves no statement running
    "SET LOCAL work_mem = '256MB'",  # the sorts that number rows by their time
    "SET LOCAL maintenance_work_mem = '256MB'",
    "SET LOCAL jit = off",  # it would take longer than a small sample itself
    "SET LOCAL TimeZone = 'UTC'",
)


def run(rows: int, until: datetime.date | None) -> None:
    """Fill the configured database, and print how many rows there are.

    Raises:
        SetupError: no table declares a sample, or the database isn't empty, or not migrated.
        ShelfmarkError: the database went away, or its disk is full; nothing was kept.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with watching(console) as told:
        made = sampled(database_url(settings.load(), direct=True), rows, until or UNTIL, told)
    console.print(f"The database holds {listed(made)}.")


def fill(url: str, rows: int, console: Console) -> None:
    """Fill the database of `up` as of today, if it is empty and some table declares a sample."""
    if rows and schema.samples() and asyncio.run(_is_empty(url)):
        made = sampled(url, rows, datetime.datetime.now(datetime.UTC).date())
        console.print(f"The empty database was filled with invented rows: {listed(made)}")


def sampled(url: str, rows: int, until: datetime.date, told: Told | None = None) -> dict[str, int]:
    """Fill an empty database.

    Args:
        url: the database's.
        rows: the size of the sample, in rows of the table that it is counted by; the library counts books.
        until: the day on which the invented rows are seen.
        told: is told each step.

    Returns:
        Table -> its rows.

    Raises:
        SetupError: no table declares a sample, or the database isn't empty, or not migrated, or somebody uses its tables.
        ShelfmarkError: the database ended it; nothing was kept.
    """
    if not schema.samples():
        raise SetupError(
            "No table declares a sample. A file in service/tables/ declares one by SAMPLES; see docs/reference/commands.md."
        )
    with in_sentences(url), _nothing_kept():
        return asyncio.run(_sampled(url, rows, until, told or _silent))


def listed(made: Mapping[str, int]) -> str:
    """Rows of tables, as one says it."""
    return ", ".join(f"{rows:,} {table}" for table, rows in made.items())


async def _sampled(url: str, rows: int, until: datetime.date, told: Told) -> dict[str, int]:
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.begin() as connection:
            made = await _filled(connection, rows, until, told)
        await _tidied(engine, list(made), told)
    finally:
        await engine.dispose()
    return made


async def _filled(connection: AsyncConnection, rows: int, until: datetime.date, told: Told) -> dict[str, int]:
    for setting in OF_THE_TRANSACTION:
        await connection.exec_driver_sql(setting)
    tables = await _there(connection)
    missing = next((table for table in schema.samples() if table not in tables), None)
    if missing:
        raise SetupError(f"The database has no table {missing}. Run `shelfmark migrate` first.")
    await _taken(connection, tables)
    rebuilding = await set_aside(connection, tables)
    made = {}
    for table, sample in schema.samples().items():
        made[table] = await _executed(connection, table, list(sample(rows, until)), told)
    await count_on(connection, list(made))
    await _executed(connection, INDEXES, rebuilding, told)
    await drops.note(connection, {table: drops.number() for table in made})  # a service may have kept that there is nothing
    return made


async def _executed(connection: AsyncConnection, stage: str, statements: list[str], told: Told) -> int:
    """Run the statements of a stage, telling of each; the rows they made."""
    made = 0
    for done, statement in enumerate(statements):
        told(stage, done, len(statements), made)
        made += max(0, (await connection.exec_driver_sql(statement)).rowcount)
    told(stage, len(statements), len(statements), made)
    return made


async def _taken(connection: AsyncConnection, tables: list[str]) -> None:
    """Have the tables for this transaction alone, and see that they are empty; also of what a killed run left in the files."""
    names = ", ".join(f'"{table}"' for table in tables)
    await connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
    used = await _used(connection, tables)
    if used:
        raise SetupError(
            f"The table {used} holds rows, and a sample goes into an empty database only. Name another one in DATABASE_URL, or "
            f'empty this one, if nobody needs what it holds: psql -c "TRUNCATE {", ".join(tables)}"'
        )
    await connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")


async def _there(connection: AsyncConnection) -> list[str]:
    """The tables that are migrated: one may just have been written down. The service's own don't count."""
    there = text("SELECT to_regclass(:name) IS NOT NULL")
    tables = schema.metadata().tables.keys() - {table.name for table in schema.OWN}
    return [table for table in sorted(tables) if await connection.scalar(there, {"name": f'"{table}"'})]


async def _used(connection: AsyncConnection, tables: list[str]) -> str | None:
    """The first table that holds a row."""
    for table in tables:
        if await connection.scalar(text(f'SELECT EXISTS (SELECT FROM "{table}")')):
            return table
    return None


async def _is_empty(url: str) -> bool:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await _used(connection, await _there(connection)) is None
    finally:
        await engine.dispose()


async def _tidied(engine: AsyncEngine, tables: list[str], told: Told) -> None:
    """Let the planner know the rows, and index-only scans stay so; autovacuum would, some minutes later."""
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        await _executed(connection, TIDYING, [f'VACUUM (ANALYZE) "{table}"' for table in tables], told)


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """Say it where the database ended the transaction."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig).splitlines()[0].rpartition(">: ")[2].rstrip(".")
        if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise SetupError(
                f"Somebody uses the tables, also after {LOCK_SECONDS} seconds. Stop the service and try again; nothing was written."
            ) from error
        raise ShelfmarkError(f"The sample couldn't be written: {said}. Nothing of it was kept.") from error


def _silent(_stage: str, _done: int, _total: int, _rows: int) -> None:
    pass
