"""The ladder's rows: a million items, the same at each run, made inside PostgreSQL.

They stay from run to run in a database of their own; only what a run has inserted is taken away again.
"""

from typing import Any

import asyncpg

from bench.ladder import processes

DATABASE = "shelfmark_ladder"
ITEMS, UNINDEXED, NOTED = "items", "items_without_index", "shelfmark_outbox"
COLUMNS = "id, category, name, price, created_at, attrs"
INSERT = f"INSERT INTO {ITEMS} (category, name, price, attrs) VALUES ($1, $2, $3, $4) RETURNING {COLUMNS}"
ROWS, CATEGORIES, PAGE = 1_000_000, 1000, 50
FILL = f"""
INSERT INTO {ITEMS} ({COLUMNS}, updated_at)
SELECT g, 1 + g * 7919 % $2, 'Item ' || md5(g::text), (g * 31 % 100000 + 1) / 100.0, at.at,
       jsonb_build_object('color', (ARRAY['red', 'green', 'blue', 'black'])[1 + g % 4], 'size', g % 50,
                          'tags', jsonb_build_array('a' || g % 7, 'b' || g % 11)),
       at.at
FROM generate_series(1, $1::bigint) AS g, LATERAL (SELECT '2024-01-01Z'::timestamptz + g * interval '1.5 s' AS at) AS at
"""
MARK = "COMMENT ON TABLE {table} IS '{mark}'"
MARKED = "SELECT obj_description(to_regclass($1), 'pg_class')"


def plain(url: str) -> str:
    """A URL as asyncpg and libpq read it, without SQLAlchemy's name of the driver."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def mark(rows: int) -> str:
    """What a table that is filled as this module says carries as its comment."""
    return f"ladder 2: {rows} rows"


def categories(rows: int) -> int:
    """How many categories so many rows have."""
    return min(CATEGORIES, max(rows // 1000, 1))


async def made(server: str, name: str = DATABASE, *, anew: bool) -> None:
    """Make the database where it is missing, or make it anew."""
    connection = await asyncpg.connect(plain(server))
    try:
        if anew:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


async def is_filled(url: str, rows: int) -> bool:
    """Whether the rows are there, made as this module says."""
    try:
        return bool((await fetched(url, MARKED, UNINDEXED))[0][0] == mark(rows))
    except asyncpg.InvalidCatalogNameError:
        return False


async def fill(url: str, rows: int) -> None:
    """Fill the empty table, and its copy that has no index."""
    connection = await asyncpg.connect(plain(url))
    try:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(FILL, rows, categories(rows))
        await connection.execute(f"CREATE TABLE {UNINDEXED} AS TABLE {ITEMS}")
        await connection.execute(f"SELECT setval(pg_get_serial_sequence('{ITEMS}', 'id'), {rows})")
        for table in (ITEMS, UNINDEXED):
            await connection.execute(f"VACUUM (ANALYZE, FREEZE) {table}")
        await connection.execute(MARK.format(table=UNINDEXED, mark=mark(rows)))
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def emptied(url: str, rows: int) -> None:
    """Take away what was inserted since."""
    connection = await asyncpg.connect(plain(url))
    try:
        await connection.execute(f"DELETE FROM {ITEMS} WHERE id > $1", rows)
        await connection.execute(f"TRUNCATE {NOTED}")
        await connection.execute(f"VACUUM (ANALYZE) {ITEMS}")
    finally:
        await connection.close()


async def fetched(url: str, sql: str, *values: Any) -> list[Any]:
    """The rows of a statement."""
    connection = await asyncpg.connect(plain(url))
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()


async def postmaster(url: str) -> int | None:
    """The process whose children serve a database's connections; None where that is another machine's."""
    connection = await asyncpg.connect(plain(url))
    try:
        return processes.parent(await connection.fetchval("SELECT pg_backend_pid()"), "postgres")
    finally:
        await connection.close()
