"""The cache of one process, put together: where answers are kept, what has them forgotten, what guards all of it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, Self

from service.cache.dropping import Dropping
from service.cache.entries import Held
from service.cache.epoch import Epoch
from service.cache.keys import Kept
from service.cache.pipe import Pipe
from service.cache.store import PASS, Load, Place, Store
from service.contract.choose import Choice
from service.contract.question import Question
from service.db import Database
from service.settings import Settings

Read = tuple[Held, str]
PERSON, MAKER_BYTES = b"shelfmark cache", 8


class Cache:
    """What one process keeps in Redis, and looks up there.

    Args:
        url: of the Redis.
        kept: what is kept of each table.
        give_up_seconds: how long Redis may take to answer.
        maker: what answers depend on besides the rows: who signs their cursors and ETags. Those of others are left to them.

    Attributes:
        tables: what is kept of each table.
        store: where answers are kept.
        dropping: what has them forgotten; a database is told of it as its `caches`.
        epoch: under which all of it is valid.
    """

    def __init__(self, url: str, kept: Mapping[str, Kept], give_up_seconds: float, maker: bytes = b"") -> None:
        self.pipe, self._maker = Pipe(url, give_up_seconds), maker
        self.tables = kept
        self.store, self.dropping = Store(self.pipe), Dropping(self.pipe, kept)
        self.epoch = Epoch(self.pipe, self.dropping, kept)

    @classmethod
    def of(cls, settings: Settings, url: str | None, kept: Mapping[str, Kept]) -> Self | None:
        """The configured one; None where it is turned off, there is no Redis, or no table wants to be kept."""
        if not (settings.cache and url and kept):
            return None
        secret = settings.signing()[0] if settings.secrets else b""  # a worker keeps nothing, and may have none
        maker = blake2b(secret, person=PERSON, digest_size=MAKER_BYTES).digest()
        return cls(url, kept, settings.cache_timeout_ms / 1000, maker)

    @asynccontextmanager
    async def running(self, database: Database) -> AsyncIterator[None]:
        """Keep things, and have them forgotten, for as long as the block lasts."""
        try:
            async with self.epoch.kept(database):
                yield
        finally:
            await self.pipe.close()

    async def row(self, kept: Kept, of: bytes, key: Any, load: Load) -> Read:
        """A row, and how it was come by: `hit`, `miss`, or `pass` where nothing may be believed.

        Args:
            kept: of its table.
            of: what the answer has in common with other rows': which columns are shown.
            key: its primary key.
            load: reads it from the database.

        Raises:
            Problem: the database refused.
        """
        names = self.epoch.names
        if names is None:
            return await load(), PASS
        marks = (names.epoch, names.table(kept.table), names.row(kept.table, key))
        return await self.store.read(Place(names.entry(self._maker + of, (key,)), marks, kept.seconds), load)

    async def page(self, kept: Kept, of: bytes, asked: tuple[Question, Choice], arguments: Sequence[Any], load: Load) -> Read:
        """A page of a list, as `row`.

        Args:
            kept: of its table.
            of: what it has in common with other pages: the statement, the order, what is shown.
            asked: the question, and its path.
            arguments: the statement's values.
            load: reads it from the database.

        Raises:
            Problem: the database refused.
        """
        names = self.epoch.names
        if names is None:
            return await load(), PASS
        marks = (names.epoch, *kept.tags(names, *asked))
        return await self.store.read(Place(names.entry(self._maker + of, arguments), marks, kept.seconds), load)
