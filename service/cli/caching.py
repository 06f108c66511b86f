"""`shelfmark cache`: what is kept in Redis, and having it forgotten."""

import asyncio
from dataclasses import asdict, dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from sqlalchemy import func, select

from service import schema, settings
from service.cache.epoch import IDENTITY
from service.cache.keys import Names
from service.cli.standing import show_json
from service.db import drops
from service.errors import SetupError
from service.local.urls import database_url, redis_url
from service.migrations.failures import in_sentences
from service.migrations.running import new_engine

NO_REDIS = "REDIS_URL is not set, so nothing is kept. Set it to redis://host:6379/0, or start `shelfmark up`."
SILENT = "Nothing that is kept is believed: no service runs, or one can't tell what was written."
AT_ONCE = 1000


@dataclass(frozen=True)
class Stats:
    """What is kept.

    Attributes:
        valid: whether what is kept is believed at the moment.
        answers: how many are kept, the forgotten ones among them until their time is over.
        tags: how many tags have marks.
        notes: writes that caches haven't all forgotten yet.
        bytes: that Redis uses, for whatever it holds.
    """

    valid: bool
    answers: int
    tags: int
    notes: int
    bytes: int


def stats(*, as_json: bool) -> None:
    """Print what is kept of the configured database.

    Raises:
        SetupError: there is no Redis, or one of the two can't be reached.
    """
    loaded = settings.load()
    url, there = database_url(loaded, direct=True), redis_url(loaded)
    if there is None:
        raise SetupError(NO_REDIS)
    with in_sentences(url):
        found = asyncio.run(_looked(url, there))
    if as_json:
        show_json(asdict(found))
        return
    out = Console(highlight=False, soft_wrap=True)
    out.print(
        "What is kept is believed." if found.valid else "Nothing that is kept is believed: no service runs, or one can't tell."
    )
    out.print(f"   answers  {found.answers:,}")
    out.print(f"   tags     {found.tags:,}")
    out.print(f"   notes    {found.notes:,}")
    out.print(f"   bytes    {found.bytes:,}, all that Redis holds")


def drop(table: str) -> None:
    """Have all forgotten that is kept of a table: by a note, as of a write that nobody has told of.

    Raises:
        SetupError: nothing is kept of the table, or the database can't be reached.
    """
    loaded = settings.load()
    kept = schema.kept(loaded)
    if table not in kept:
        raise SetupError(f"Nothing is kept of {table}. Answers are kept of {', '.join(kept)}.")
    url = database_url(loaded, direct=True)
    with in_sentences(url):
        asyncio.run(_noted(url, table))
    Console(highlight=False).print(f"What is kept of {table} is forgotten within a second, wherever a service runs.")


async def _noted(url: str, table: str) -> None:
    engine = new_engine(url)
    try:
        async with engine.begin() as connection:
            await drops.note(connection, {table: drops.number()})
    finally:
        await engine.dispose()


async def _looked(url: str, there: str) -> Stats:
    engine = new_engine(url)
    try:
        async with engine.begin() as connection:
            names = Names(str(await connection.scalar(IDENTITY)))
            notes = await connection.scalar(select(func.count()).select_from(drops.drops)) or 0
    finally:
        await engine.dispose()
    try:
        async with Redis.from_url(there) as redis:
            return await _counted(redis, names, int(notes))
    except RedisError as error:
        raise SetupError(f"Redis can't be reached: {str(error).rstrip('.')}. Check REDIS_URL.") from error


async def _counted(redis: "Redis", names: Names, notes: int) -> Stats:
    kinds = {b"e": 0, b"r": 0, b"s": 0, b"t": 0}
    own = {names.epoch, names.run, names.layouts}
    async for key in redis.scan_iter(match=names.prefix + b"*", count=AT_ONCE):
        if key not in own:
            kinds[key.removeprefix(names.prefix)[:1]] += 1
    memory = await redis.info("memory")
    valid = bool(await redis.exists(names.epoch))
    return Stats(valid, kinds[b"e"], kinds[b"r"] + kinds[b"s"] + kinds[b"t"], notes, int(memory["used_memory"]))
