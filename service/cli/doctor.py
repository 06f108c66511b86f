"""`shelfmark doctor`: what is set, what runs, what is wrong and what to do about it."""

import asyncio
import math
import os
import platform
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service import migrations, schema, settings
from service.db import Database, budget
from service.db.budget import processes
from service.db.encoding import ENCODING_SQL, refuse_encoding
from service.db.engine import reading_options
from service.db.surface import idle
from service.errors import Problem, SetupError
from service.http.health import missing
from service.jobs import backlog
from service.jobs.folder import Folder
from service.jobs.transitions import ALIVE_SECONDS
from service.local.urls import database_url, redis_url
from service.settings import Settings

ROUND_TRIPS = 20
MEASURED_MOST = 10
UNKNOWN_TO_POOLERS = "unsupported startup parameter"
RELIED_UPON = {
    "timezone",
    "default_transaction_read_only",
    "statement_timeout",
    "max_parallel_workers_per_gather",
    "enable_seqscan",
    "enable_sort",
    "enable_incremental_sort",
}
OPEN = text("""
    SELECT count(*), count(*) FILTER (WHERE usename = current_user),
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    FROM pg_stat_activity WHERE backend_type = 'client backend'
""")
START = "run `shelfmark worker`"
NONE_LEFT = "too many connections", "remaining connection slots", "too many clients"
WHOSE = "SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2"
READS_A_SECOND = 2000
"""What a process reads, about, where nothing has to be waited for: beyond that its processor is what limits it."""
SHOW = text("SELECT setting FROM pg_settings WHERE lower(name) = :name")
REMEDY = "set it for the role (ALTER ROLE ... SET), as docs/guides/pooling.md tells"
OLDEST_POSTGRESQL, OLDEST_REDIS = 15, (6, 2)
MARKS = {True: "[green]ok[/]  ", False: "[red]bad[/] "}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    good: bool
    text: str


def run() -> None:
    """Print every finding; exit with 1 where one is bad."""
    console = Console(highlight=False, soft_wrap=True)
    findings = asyncio.run(_collected())
    for finding in findings:
        console.print(MARKS[finding.good] + escape(finding.text))
    if not all(finding.good for finding in findings):
        raise SystemExit(1)


async def _collected() -> list[Finding]:
    try:
        loaded = settings.load()
    except SetupError as error:
        return [Finding(good=False, text=str(error))]
    found = [Finding(good=True, text=f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")]
    found += _secrets(loaded)
    found += await asyncio.to_thread(_spool, loaded)
    found += [finding async for finding in _database(loaded)]
    found += [finding async for finding in _redis(loaded)]
    return found


def _secrets(loaded: Settings) -> Iterator[Finding]:
    if loaded.secrets:
        yield Finding(good=True, text=f"SHELFMARK_SECRETS holds {len(loaded.secrets)}")
    elif loaded.database_url:
        yield Finding(good=False, text="SHELFMARK_SECRETS is not set: `serve` needs it. `openssl rand -hex 32` makes one.")
    else:
        yield Finding(good=True, text="SHELFMARK_SECRETS is not set: `up` keeps one of its own, `serve` needs it")


def _spool(loaded: Settings) -> list[Finding]:
    """Whether files can be kept in the directory that is set. Whether all machines share it can't be told from one of them."""
    if loaded.spool_directory is None:
        return [Finding(good=True, text="uploads, rejects and exports are kept in the database (SHELFMARK_SPOOL_DIRECTORY)")]
    try:
        Folder(loaded.spool_directory).check()
    except SetupError as error:
        return [Finding(good=False, text=str(error))]
    return [Finding(good=True, text=f"uploads, rejects and exports are kept in {loaded.spool_directory}")]


async def _database(loaded: Settings) -> AsyncIterator[Finding]:
    try:
        url = database_url(loaded)
    except SetupError as error:
        yield Finding(good=False, text=str(error))
        return
    try:
        database = Database.connect(url, loaded)
    except SetupError as error:
        yield Finding(good=False, text=str(error))
        return
    try:
        async with database.reading() as session:
            for finding in [found async for found in _of_server(session)]:
                yield finding
            trip, most = await _round_trip(session), await budget.offered(session)
            used, own, whole = (await session.execute(OPEN)).one()
        yield Finding(good=True, text=f"a round trip takes {trip * 1000:.2f} ms")
        for finding in _of_budget(loaded, trip, most, used):
            yield finding
        for line in await _unlike(database, loaded):
            yield Finding(good=False, text=line)
        free = min(most - own, whole - used) - budget.RESERVE
        if free > 0:
            yield await _waiting(url, loaded, free)
        async for finding in _of_schema(database, url):
            yield finding
    except Problem as problem:
        yield Finding(good=False, text=f"PostgreSQL: {problem.detail} ({problem.__cause__}){_hint(problem)}")
    except SetupError as error:
        yield Finding(good=False, text=str(error))
    finally:
        await database.close()


def _hint(problem: Problem) -> str:
    cause = str(problem.__cause__)
    if UNKNOWN_TO_POOLERS in cause:
        return ". A pooler stands in between: set SHELFMARK_POOLER=true, and see docs/guides/pooling.md"
    if any(words in cause for words in NONE_LEFT):
        return f". All that PostgreSQL has for this role are in use; {WHOSE} tells whose they are"
    return ""


async def _of_server(session: AsyncSession) -> AsyncIterator[Finding]:
    number = int((await session.execute(text("SHOW server_version_num"))).scalar_one())
    yield Finding(good=number // 10_000 >= OLDEST_POSTGRESQL, text=f"PostgreSQL {number // 10_000}.{number % 10_000}")
    encoding, folded = (await session.execute(text(ENCODING_SQL))).one()
    try:
        refuse_encoding(encoding, folded)
        yield Finding(good=True, text="its encoding is UTF8, and it folds the letters of every language")
    except SetupError as error:
        yield Finding(good=False, text=str(error))


async def _round_trip(session: AsyncSession) -> float:
    """The median time of a statement that does nothing, in seconds."""
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        await session.execute(text("SELECT 1"))
        times.append(time.perf_counter() - began)
    return sorted(times)[ROUND_TRIPS // 2]


def _of_budget(loaded: Settings, trip: float, most: int, used: int) -> Iterator[Finding]:
    """The arithmetic of connections, and what may be changed for the better."""
    if loaded.pooler:
        yield Finding(good=True, text=f"{budget.arithmetic(loaded)} to the pooler (SHELFMARK_POOLER)")
        return
    try:
        budget.refuse_excess(loaded, most)
    except SetupError as error:
        yield Finding(good=False, text=str(error))
        return
    yield Finding(good=True, text=f"{budget.arithmetic(loaded)} of the {most} that PostgreSQL offers; {used} are open now")
    for line in advice(loaded, trip, most):
        yield Finding(good=True, text=line)


async def _waiting(url: str, loaded: Settings, most: int) -> Finding:
    """How long readers wait for a connection when there are twice as many of them as connections, and what they get done.

    As many connections are measured as a process has for reads, but no more than are free, and not very many.
    """
    reads = min(budget.sizes(loaded).reads, most, MEASURED_MOST)
    database = Database.connect(url, loaded.model_copy(update={"read_pool_size": reads, "pool_wait_seconds": 60.0}))
    gate, readers = database.reads.gate, 2 * reads

    async def ask() -> None:
        for _ in range(ROUND_TRIPS):
            await database.read(lambda session: session.execute(text("SELECT 1")))

    try:
        await asyncio.gather(*(ask() for _ in range(readers)))  # connects, which is no part of what is measured
        before, began = gate.waited, time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(readers)))
        took = time.perf_counter() - began
    finally:
        await database.close()
    done = readers * ROUND_TRIPS
    waited = f"{readers} readers at once wait {1000 * (gate.waited - before) / done:.2f} ms for one of {gate.permits} connections"
    return Finding(good=True, text=f"{waited}, and read {done / took:,.0f} times a second")


def advice(loaded: Settings, trip: float, most: int) -> Iterator[str]:
    """What may be changed for the better, as far as there are connections for it.

    Args:
        loaded: the settings.
        trip: seconds that the database takes to answer.
        most: connections that it offers.
    """
    processors, sizes, needed = os.cpu_count() or 1, budget.sizes(loaded), budget.needed(loaded)
    if 0 < (processors - loaded.web_concurrency) * sizes.total <= most - needed:
        yield (
            f"of this machine's {processors} processors the web processes use {loaded.web_concurrency}: "
            f"WEB_CONCURRENCY={processors} would use them all"
        )
    if loaded.web_concurrency > 1 and loaded.connection_budget is None and not (loaded.read_pool_size and loaded.write_pool_size):
        yield f"SHELFMARK_CONNECTION_BUDGET={needed} would keep this sum when processes are added"
    reads = math.ceil(trip * READS_A_SECOND)
    if 0 < processes(loaded) * (reads - sizes.reads) <= most - needed:
        yield (
            f"the database is far away: while {sizes.reads} connections wait for it, a process has time for "
            f"more. SHELFMARK_READ_POOL_SIZE={reads} would use that"
        )


async def _unlike(database: Database, loaded: Settings) -> list[str]:
    """Settings that connections don't have, though reading relies on them."""
    async with database.reading() as session:
        return [
            f"connections that read have {name} = {found}, and need {wanted}: {REMEDY}"
            for name, wanted in reading_options(loaded).items()
            if name in RELIED_UPON and (found := str(await session.scalar(SHOW, {"name": name}))) != wanted
        ]


async def _of_schema(database: Database, url: str) -> AsyncIterator[Finding]:
    current, head = await asyncio.to_thread(migrations.current, url), migrations.head()
    if current == head:
        yield Finding(good=True, text=f"the newest migration is in ({head})")
        yield await _jobs(database)
    else:
        await asyncio.to_thread(migrations.goes_back, url, "head")  # says so where newer code has migrated it
        yield Finding(
            good=False, text=f"the database is at {current or 'no migration'}, the code at {head}: run `shelfmark migrate`"
        )
    for sentence in await missing(database, schema.metadata()):
        yield Finding(good=False, text=sentence)
    for line in _of_tables():
        yield Finding(good=False, text=line)


async def _jobs(database: Database) -> Finding:
    """Whether somebody does what there is to do."""
    async with database.reading() as session:
        found = await backlog.counted(session)
    seen = f"seen in the last {ALIVE_SECONDS:.0f} s"
    workers = f"{found.workers} {'worker' if found.workers == 1 else 'workers'} {seen}"
    jobs = f"{found.waiting} {'job waits' if found.waiting == 1 else 'jobs wait'}"
    if found.waiting and not found.workers:
        return Finding(good=False, text=f"{jobs}, the oldest for {found.oldest_seconds:.0f} s, and no worker was {seen}: {START}")
    told = f"{workers}, with {found.slots} slots in all; {jobs}, {found.delayed} are for later, {found.running} run"
    return Finding(good=True, text=f"{told}, {found.failed} have failed")


def _of_tables() -> Iterator[str]:
    """What the declared indexes leave out."""
    for model in schema.models():
        yield from idle(model)
    for router in schema.routers():
        yield from router.undeletable()


async def _redis(loaded: Settings) -> AsyncIterator[Finding]:
    url = redis_url(loaded)
    if url is None:
        yield Finding(good=True, text="no Redis is set (REDIS_URL)")
        return
    redis = Redis.from_url(
        url, socket_connect_timeout=loaded.connect_timeout_seconds, socket_timeout=loaded.connect_timeout_seconds
    )
    try:
        version = (await redis.info("server"))["redis_version"]
        yield Finding(good=tuple(map(int, version.split(".")[:2])) >= OLDEST_REDIS, text=f"Redis {version}")
    except (RedisError, OSError) as error:
        yield Finding(good=False, text=f"Redis can't be reached: {error}")
    finally:
        await redis.aclose()
