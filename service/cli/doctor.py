"""`shelfmark doctor`: what is set, what runs, what is wrong and what to do about it."""

import asyncio
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
from service.db import Database
from service.db.encoding import ENCODING_SQL, refuse_encoding
from service.db.surface import idle
from service.errors import Problem, SetupError
from service.http.health import missing
from service.local.urls import database_url, redis_url
from service.settings import Settings

ROUND_TRIPS = 20
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


async def _database(loaded: Settings) -> AsyncIterator[Finding]:
    try:
        url = database_url(loaded)
    except SetupError as error:
        yield Finding(good=False, text=str(error))
        return
    database = Database.connect(url, loaded)
    try:
        async with database.reading() as session:
            for finding in [found async for found in _of_server(session, loaded)]:
                yield finding
        async for finding in _of_schema(database, url):
            yield finding
    except Problem as problem:
        yield Finding(good=False, text=f"PostgreSQL: {problem.detail} ({problem.__cause__})")
    except SetupError as error:
        yield Finding(good=False, text=str(error))
    finally:
        await database.close()


async def _of_server(session: AsyncSession, loaded: Settings) -> AsyncIterator[Finding]:
    number = int((await session.execute(text("SHOW server_version_num"))).scalar_one())
    yield Finding(good=number // 10_000 >= OLDEST_POSTGRESQL, text=f"PostgreSQL {number // 10_000}.{number % 10_000}")
    encoding, folded = (await session.execute(text(ENCODING_SQL))).one()
    try:
        refuse_encoding(encoding, folded)
        yield Finding(good=True, text="its encoding is UTF8, and it folds the letters of every language")
    except SetupError as error:
        yield Finding(good=False, text=str(error))
    yield Finding(good=True, text=f"a round trip takes {await _round_trip(session) * 1000:.2f} ms")
    yield await _connections(session, loaded)


async def _round_trip(session: AsyncSession) -> float:
    """The median time of a statement that does nothing, in seconds."""
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        await session.execute(text("SELECT 1"))
        times.append(time.perf_counter() - began)
    return sorted(times)[ROUND_TRIPS // 2]


async def _connections(session: AsyncSession, loaded: Settings) -> Finding:
    most = int((await session.execute(text("SHOW max_connections"))).scalar_one())
    kept = int((await session.execute(text("SHOW superuser_reserved_connections"))).scalar_one())
    wanted = loaded.web_concurrency * (loaded.read_pool_size + loaded.write_pool_size)
    arithmetic = f"{loaded.web_concurrency} x ({loaded.read_pool_size} + {loaded.write_pool_size}) = {wanted} connections"
    return Finding(good=wanted <= most - kept, text=f"{arithmetic} of the {most - kept} that PostgreSQL offers")


async def _of_schema(database: Database, url: str) -> AsyncIterator[Finding]:
    current, head = await asyncio.to_thread(migrations.current, url), migrations.head()
    if current == head:
        yield Finding(good=True, text=f"the newest migration is in ({head})")
    else:
        yield Finding(
            good=False, text=f"the database is at {current or 'no migration'}, the code at {head}: run `shelfmark migrate`"
        )
    for sentence in await missing(database, schema.metadata()):
        yield Finding(good=False, text=sentence)
    for line in _of_tables():
        yield Finding(good=False, text=line)


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
