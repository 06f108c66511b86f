"""What it costs the writers of a table when a migration builds an index on it, and when it puts another in its place.

    python -m bench.building --rows 1000000

Writers come at a fixed rate, whether those before them are done or not; each waits from the moment at which it was due. Beside ours
stands a control: the same index by CREATE INDEX CONCURRENTLY, the same load. What is compared is what writers met while an index
was being built; the longest wait for a lock, and the scans of the table, are those of the whole migration.

Of several rounds the quickest counts: whatever else the machine does makes writes slower, and nothing makes them quicker. Where
even "no build" is slow, the machine is too busy to say anything.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from statistics import quantiles
from typing import Any

import asyncpg
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.deep_pages import AUTHORS, BOOKS
from bench.servers import own_database, server
from service.db.model import table_of
from service.settings import Settings
from service.tables.authors import Author
from service.tables.books import Book
from tests.migrations.standalone import Standalone, plain

WRITES_PER_SECOND, WRITERS = 200, 12
WARMING_SECONDS, LOOK_SECONDS = 2.0, 0.002
PROMISED_RATIO, PROMISED_WAIT_MS = 2.0, 10.0
NAME = "ix_books_bench"
FOLDED = '(lower(title COLLATE "default") COLLATE "C")'
FIRST, SECOND = f"btree ({FOLDED}, language, id)", f"btree ({FOLDED}, language, published_year, id)"
INSERT = """
INSERT INTO books (title, author_id, language)
SELECT 'New ' || number, 1 + number % 1000, 'eng' FROM (SELECT CAST($1 AS bigint)) AS w (number)
"""
UPDATE = "UPDATE books SET ratings_count = ratings_count + 1 WHERE id = $1"
LOOK = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)) FILTER (WHERE NOT l.granted), 0)::float8,
       EXISTS (SELECT FROM pg_stat_progress_create_index WHERE relid = 'books'::regclass)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid AND a.application_name = 'bench writer'
"""
SCANS = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'books'"


@dataclass
class Met:
    """What writers met.

    Attributes:
        writes: when each was due, and how long it took, in seconds.
        building: the spans in which an index was being built.
        wait: the longest that a writer was seen waiting for a lock, in seconds.
        blind: the longest between two looks, in seconds.
        scans: of the table as a whole.
        rounds: the 99th percentile of each round while an index was built, in seconds.
    """

    writes: list[tuple[float, float]] = field(default_factory=list)
    building: list[tuple[float, float]] = field(default_factory=list)
    wait: float = 0.0
    blind: float = 0.0
    scans: int = 0
    seconds: float = 0.0
    rounds: list[float] = field(default_factory=list)

    def add(self, other: "Met") -> None:
        """Another round's."""
        self.writes += other.writes
        self.building += other.building
        self.wait, self.blind = max(self.wait, other.wait), max(self.blind, other.blind)
        self.scans = max(self.scans, other.scans)
        self.seconds += other.seconds
        self.rounds.append(other.slow())

    @property
    def best(self) -> float:
        """The 99th percentile of the quickest round."""
        return min(self.rounds)

    def slow(self, *, building: bool = True) -> float:
        """The 99th percentile in seconds, of those that were due while an index was built, or of all."""
        due = [took for at, took in self.writes if not building or any(begin <= at <= end for begin, end in self.building)]
        return quantiles(due, n=100)[98] if len(due) > 1 else 0.0


def load(url: str, pipe: "Pipe[Any, Any]", rows: int) -> None:
    """A process that writes until it is told to end, and then says what it met."""
    pipe.send(asyncio.run(_load(url, pipe, rows)))


async def _load(url: str, pipe: "Pipe[Any, Any]", rows: int) -> list[tuple[float, float]]:
    pool = await asyncpg.create_pool(url, min_size=WRITERS, max_size=WRITERS, server_settings={"application_name": "bench writer"})
    pipe.send("ready")
    met: list[tuple[float, float]] = []

    async def write(number: int, due: float) -> None:
        if number % 2:
            await pool.execute(INSERT, number)
        else:
            await pool.execute(UPDATE, 1 + number * 7919 % rows)
        met.append((due, time.monotonic() - due))

    began = time.monotonic()
    async with asyncio.TaskGroup() as writes:
        number = 0
        while not pipe.poll():
            due = began + number / WRITES_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writes.create_task(write(number, due))
            number += 1
    await pool.close()
    return met


@asynccontextmanager
async def loaded(url: str, rows: int, met: Met) -> AsyncIterator[None]:
    """Writers for as long as the block lasts, once they are warm."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=load, args=(url, there, rows))
    process.start()
    there.close()
    await asyncio.to_thread(here.recv)  # its connections are made
    await asyncio.sleep(WARMING_SECONDS)
    try:
        yield
    finally:
        here.send("enough")
        met.writes = await asyncio.to_thread(here.recv)
        process.join()


async def looked_at(url: str, met: Met, work: Awaitable[None]) -> None:
    """Do something, and look meanwhile who waits, and whether an index is being built."""
    connection = await asyncpg.connect(url)
    task = asyncio.ensure_future(work)
    began = last = time.monotonic()
    while not task.done():
        wait, building = await connection.fetchrow(LOOK)
        now = time.monotonic()
        met.wait, met.blind = max(met.wait, wait), max(met.blind, now - last)
        if building:
            met.building.append((last, now))
        last = now
        await asyncio.sleep(LOOK_SECONDS)
    met.seconds = last - began
    await connection.close()
    await task


async def measured(url: str, rows: int, work: Callable[[], Awaitable[None]], *, quiet: bool = False) -> Met:
    """What writers meet while something is done; quiet: there are none."""
    met = Met()
    before = await scans(url)
    if quiet:
        await looked_at(url, met, work())
    else:
        async with loaded(url, rows, met):
            await looked_at(url, met, work())
    met.scans = await scans(url) - before
    return met


async def scans(url: str) -> int:
    """How often the table was read as a whole; sessions that have ended have told all they know."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return int(await connection.fetchval(SCANS))
    finally:
        await connection.close()


async def plainly(url: str, statement: str) -> None:
    """A statement in a session of its own."""
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def filled(url: str, rows: int) -> None:
    """The library's authors and books, as its models have them, and many rows."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
        tables = [table_of(Author), table_of(Book)]
        await connection.run_sync(lambda on: Author.metadata.create_all(on, tables=tables))
        for statement in (AUTHORS, BOOKS):
            await connection.exec_driver_sql(statement.replace("{rows}", str(rows)))
        await connection.execute(text("VACUUM ANALYZE"))
    await engine.dispose()


def project(url: str, folder: str) -> Standalone:
    """Two migrations: one builds the index, one puts another in its place."""
    made = Standalone(Path(folder) / "project", url)
    made.revise("build", f"op.build_index({NAME!r}, 'books', {FIRST!r})")
    made.revise("swap", f"op.build_index({NAME!r}, 'books', {SECOND!r})")
    return made


async def run(server_url: str, rows: int, rounds: int) -> bool:
    """Fill, measure, print; whether what is promised holds."""
    async with own_database(server_url) as url:
        await filled(url, rows)
        with tempfile.TemporaryDirectory() as folder:
            found = await compared(url, rows, rounds, project(url, folder))
    print(f"{rows:,} rows, {WRITES_PER_SECOND} writes a second, {rounds} rounds\n")  # noqa: T201
    for name, met in found.items():
        print(line(name, met))  # noqa: T201
    return verdict(found)


async def compared(url: str, rows: int, rounds: int, migrations: Standalone, found: dict[str, Met] | None = None) -> dict[str, Met]:
    """A quiet control, then in turns: nothing, the control, our build, our swap.

    Args:
        url: of a database that is `filled`.
        rows: of its table.
        rounds: times that each has its turn.
        migrations: those of `project`.
        found: what earlier rounds met, to which these are added.
    """
    direct = plain(url)
    found = found or {name: Met() for name in ("quiet control", "no build", "control", "our build", "our swap")}

    async def control() -> None:
        await plainly(direct, f"CREATE INDEX CONCURRENTLY {NAME} ON books USING {FIRST}")

    async def ours(revision: str) -> None:
        await asyncio.to_thread(migrations.upgrade, Settings(), revision)

    for _ in range(rounds):
        found["quiet control"].add(await measured(direct, rows, control, quiet=True))
        await plainly(direct, f"DROP INDEX {NAME}")
        found["no build"].add(await measured(direct, rows, lambda: asyncio.sleep(3)))
        found["control"].add(await measured(direct, rows, control))
        await plainly(direct, f"DROP INDEX {NAME}")
        found["our build"].add(await measured(direct, rows, lambda: ours("build")))
        found["our swap"].add(await measured(direct, rows, lambda: ours("swap")))
        await plainly(direct, f"DROP INDEX {NAME}")
        await plainly(direct, "DROP TABLE alembic_version")
    return found


def line(name: str, met: Met) -> str:
    """What was met, in one line."""
    slow = (
        f"p99 {met.best * 1000:>7.1f} ms while it builds, {met.slow(building=False) * 1000:>7.1f} ms in all" if met.writes else ""
    )
    waits = f"longest wait for a lock {met.wait * 1000:.1f} ms (looked every {met.blind * 1000:.0f} ms or sooner)"
    return f"  {name:<14}{met.seconds:>6.1f} s  {slow:<58}  {waits}, seq_scan +{met.scans}"


def verdict(found: dict[str, Met]) -> bool:
    """Say whether each promise holds."""
    control, held = found["control"], True
    for name in ("our build", "our swap"):
        met = found[name]
        promises = {
            f"p99 {met.best / control.best:.2f} times the control's": met.best < PROMISED_RATIO * control.best,
            f"no writer waits over {PROMISED_WAIT_MS:.0f} ms for a lock": met.wait * 1000 <= PROMISED_WAIT_MS,
            f"seq_scan +{met.scans}, a quiet control +{found['quiet control'].scans}": met.scans <= found["quiet control"].scans,
        }
        for promise, kept in promises.items():
            print(f"{name}: {promise}: {'held' if kept else 'BROKEN'}")  # noqa: T201
        held = held and all(promises.values())
    return held


def main() -> None:
    """Measure on a given server, or on one of its own that doesn't outlive the measurement."""
    options = argparse.ArgumentParser(description="Measure what the build of an index costs the writers.")
    options.add_argument("--rows", type=int, default=1_000_000, help="of the table")
    options.add_argument("--rounds", type=int, default=3, help="times that each has its turn")
    options.add_argument("--url", help="a PostgreSQL whose user may create databases; by default an embedded one")
    given = options.parse_args()
    with server(given.url) as url:
        held = asyncio.run(run(url, given.rows, given.rounds))
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
