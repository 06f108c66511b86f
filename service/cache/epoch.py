"""The fence around all that is kept: one mark in Redis that lives for a second, and is renewed only while nothing is overdue.

Each process looks several times a second for notes of writes that nobody has told Redis of for a while: their process was killed,
hangs, or can't reach Redis. It tells Redis for them, takes the notes away, and only then renews the epoch, counted from the moment
before it looked. So whatever goes wrong, Redis stopped, emptied, cut off, full, or the database away, the epoch ends within a
second, and with it everything that was kept under it. What ends is never believed again: the next epoch has another mark. So has
the first one of each run of Redis: what it remembers of the run before may be older than what it had been told.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import blake2b

import structlog
from sqlalchemy import delete, func, select, text

from service.background import beside, reason_of
from service.cache.dropping import Dropping
from service.cache.entries import MARK_BYTES, mark
from service.cache.keys import Kept, Names
from service.cache.pipe import Pipe, Script
from service.db import Database
from service.db.drops import TAKE_AWAY, drops

LIFE_SECONDS = 1.0
BEAT_SECONDS = 0.2
OVERDUE_SECONDS = 0.3
"""How long a write may take to tell Redis before others do it."""
LOOK_SECONDS = 0.5
"""How old a look at the notes may be."""
NOTES_AT_ONCE = 1000
PRUNED_AFTER_SECONDS = 60.0
"""A note that is older than this and all that was ever kept says nothing any more: the longest transaction is over, too."""
RENEW = Script("""
-- Renew the epoch, or begin another. KEYS: the epoch, which run of Redis it began in, and how processes arrange what they keep.
-- ARGV: its mark as it was before the look at the notes (or nothing), the time of that in milliseconds, how old it may be, for how
-- long the epoch lives from then on, a mark for another one (or nothing: none may begin), this process's arrangement. Answers the
-- epoch's mark, and the time.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local found = redis.call('GET', KEYS[1])
redis.call('HSET', KEYS[3], ARGV[6], now)
local known = redis.call('HGETALL', KEYS[3])
for at = 1, #known, 2 do
  if now - known[at + 1] > 3 * ARGV[4] then
    redis.call('HDEL', KEYS[3], known[at])
  elseif known[at] ~= ARGV[6] then
    redis.call('DEL', KEYS[1])
    return {'', now}
  end
end
if not found or redis.call('GET', KEYS[2]) ~= run then
  found = ARGV[5]
  if found == '' then
    redis.call('DEL', KEYS[1])
    return {found, now}
  end
  redis.call('SET', KEYS[1], found, 'PX', ARGV[4])
  redis.call('SET', KEYS[2], run)
elseif found == ARGV[1] then
  local looked = tonumber(ARGV[2])
  local left = looked + tonumber(ARGV[4]) - now
  if looked <= now and now - looked <= tonumber(ARGV[3]) and left > redis.call('PTTL', KEYS[1]) then
    redis.call('PEXPIRE', KEYS[1], left)
  end
end
return {found, now}
""")
IDENTITY = text(
    "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid || '/' "
    "|| coalesce(CAST(CAST(to_regclass('shelfmark_drops') AS oid) AS text), '') "
    "FROM pg_database WHERE datname = current_database()"
)
"""Who shares the notes shares the names: a schema of one database that has tables of its own has notes of its own, too."""
log = structlog.get_logger(__name__)


class Epoch:
    """Looks after the epoch, for one process.

    Args:
        pipe: to Redis.
        dropping: what tells it what to forget.
        kept: what is kept of each table. Processes that don't agree on it keep nothing while both are there: one wouldn't know
            what the other has kept.

    Attributes:
        names: of the database's keys; None: the database hasn't said yet which one it is.
        overdue: notes of others that were found, and dealt with.
        life_seconds: of the epoch.
    """

    def __init__(self, pipe: Pipe, dropping: Dropping, kept: Mapping[str, Kept]) -> None:
        self._pipe, self._dropping = pipe, dropping
        self._layout = layout(kept)
        self._prune_seconds = max((one.seconds for one in kept.values()), default=0.0) + PRUNED_AFTER_SECONDS
        self._seen: tuple[bytes, int] | None = None
        self._able = True
        self._database = ""
        self.names: Names | None = None
        self.overdue = 0
        self.life_seconds = LIFE_SECONDS

    @asynccontextmanager
    async def kept(self, database: Database) -> AsyncIterator[None]:
        """Look after it for as long as the block lasts."""
        async with beside(self._keep(database), "epoch"), self._dropping.kept(database):
            yield

    async def beat(self, database: Database) -> bool:
        """Look at the notes, and renew the epoch if none is overdue.

        Returns:
            Whether the database was asked; else nobody knows yet whether it would say anything.

        Raises:
            Problem: the database is away.
        """
        names = self.names or await self._named(database)
        if not self._pipe.open:
            self._seen = None
            await self._prune(database)
            return True
        seen = self._seen
        if seen is None or await self._heard(database):
            await self._renew(names, seen)
        return seen is not None

    async def _named(self, database: Database) -> Names:
        """The names of the database's keys. While they can't be had, nobody else takes notes away."""
        try:
            self._database = await identity(database)
        except Exception:
            await self._prune(database)
            raise
        self.names = self._dropping.names = names = Names(self._database)
        return names

    def _forget_names(self) -> None:
        """Believe nothing until the next beat: the URL leads to another database now, as one that was restored."""
        self.names = self._dropping.names = self._seen = None
        log.warning("nothing that is kept may be believed: the database is another one now")

    async def _renew(self, names: Names, seen: tuple[bytes, int] | None) -> None:
        was, looked = seen or (b"", 0)
        another = mark() if seen else b""  # only after a look at the notes
        times = (b"%d" % looked, b"%d" % (LOOK_SECONDS * 1000), b"%d" % (self.life_seconds * 1000))
        found = await self._pipe.run(RENEW, (names.epoch, names.run, names.layouts), (was, *times, another, self._layout))
        self._seen = (found[0], found[1]) if found else None

    async def _heard(self, database: Database) -> bool:
        """Tell Redis what others were to tell it; whether nothing is left to tell."""
        late = drops.c.noted_at < func.clock_timestamp() - text(f"interval '{OVERDUE_SECONDS} seconds'")
        async with database.aside() as session:
            found = (await session.execute(select(drops.c.id, drops.c.of).where(late).limit(NOTES_AT_ONCE))).all()
            which = str(await session.scalar(IDENTITY))
        if which != self._database:
            self._forget_names()
            return False
        if not found:
            return True
        self.overdue += len(found)
        names = self.names
        if names is None or not await self._dropping.drop([names.table(table) for table in {row.of for row in found}]):
            return False
        await self._take_away(database, [row.id for row in found])
        return len(found) < NOTES_AT_ONCE

    async def _take_away(self, database: Database, ids: list[int]) -> None:
        async with database.writing() as unit:
            await unit.session.execute(TAKE_AWAY, {"ids": ids})

    async def _prune(self, database: Database) -> None:
        """Take away notes that say nothing any more: while Redis is away nobody else does."""
        old = drops.c.noted_at < func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, self._prune_seconds)
        async with database.writing() as unit:
            await unit.session.execute(delete(drops).where(drops.c.id.in_(select(drops.c.id).where(old).limit(NOTES_AT_ONCE))))

    async def _keep(self, database: Database) -> None:
        while True:
            try:
                self._able = await self.beat(database) or self._able
            except Exception as error:  # noqa: BLE001  # whatever it is, notes are looked at again
                self._seen = None
                if self._able:
                    log.warning(
                        "nothing that is kept may be believed: the database doesn't say what was written", why=reason_of(error)
                    )
                self._able = False
            await asyncio.sleep(BEAT_SECONDS)


async def identity(database: Database) -> str:
    """What tells a database from all others, by whatever URL it is reached.

    Raises:
        Problem: it is away.
    """
    async with database.aside() as session:
        return str(await session.scalar(IDENTITY))


def layout(kept: Mapping[str, Kept]) -> bytes:
    """What processes must agree on: which tables are kept, and by which values their lists are told apart."""
    told = sorted((table, sorted(one.scopes)) for table, one in kept.items())
    return blake2b(repr(told).encode(), digest_size=MARK_BYTES).digest()
