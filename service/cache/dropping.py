"""Forgetting what a write has changed: its row, the lists that the row was in, and those that it is in now; nothing else.

A tag loses its mark, so all that was kept under it is valid no longer, and whoever reads at this moment may not keep what it read.
That happens after the commit, and before the write is acknowledged. A write whose tags couldn't be reached leaves its note in the
database, where the keepers of the epoch find it (`epoch.py`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from service.background import flushed
from service.cache.keys import Kept, Names
from service.cache.pipe import Pipe
from service.db import Database
from service.db.drops import TAKE_AWAY, Change
from service.db.reading import compiled

BULK_MOST = 1000
"""Rows of one write that are forgotten one by one; past that, the whole table is."""
TRIES = 2
"""A connection that is lost for nothing, since the machine was busy, is made anew."""
FLUSH_SECONDS, LAST_SECONDS = 0.1, 1.0
DONE_MOST = 50_000
"""Notes that may wait to be taken away; the oldest are left to the keepers."""


class Dropping:
    """Tells Redis what to forget, for one process.

    Attributes:
        names: of the database's keys; None: not known yet.
        dropped: how many tags lost their marks.
        failed: how many writes Redis couldn't be told of.
    """

    def __init__(self, pipe: Pipe, kept: Mapping[str, Kept]) -> None:
        self._pipe, self._kept = pipe, kept
        self._done: deque[int] = deque(maxlen=DONE_MOST)
        self.names: Names | None = None
        self.dropped = self.failed = 0

    def columns(self, table: str) -> tuple[str, ...] | None:
        """The columns whose values decide what is forgotten; None: nothing is kept of the table."""
        kept = self._kept.get(table)
        return kept.columns if kept else None

    def tables(self) -> Iterable[str]:
        """The tables of which something is kept."""
        return self._kept

    async def forget(self, changes: Sequence[Change], notes: Sequence[int]) -> None:
        """Forget what is no longer so. The notes are taken away later if Redis has heard; else others find them."""
        tags = list(dict.fromkeys(self._tags(changes)))
        if tags and await self.drop(tags):
            self._done += notes
        else:
            self.failed += 1

    async def drop(self, tags: Sequence[bytes]) -> bool:
        """Take the marks from tags; whether Redis did. DEL works where its memory is full, too."""
        for _ in range(TRIES):
            found = await self._pipe.ask((b"DEL", *tags)) if await self._pipe.ready() else None
            if found and isinstance(found[0], int):
                self.dropped += found[0]
                return True
        return False

    def kept(self, database: Database) -> AbstractAsyncContextManager[None]:
        """Take notes away for as long as the block lasts."""
        taking = compiled(TAKE_AWAY.returning(TAKE_AWAY.table.c.id), database.writes.engine.dialect).sql

        async def flush() -> None:
            done = list(self._done)
            self._done.clear()
            try:
                if done:
                    await database.write(taking, [done])
            except BaseException:
                self._done += done
                raise

        return flushed(flush, "notes of what caches have forgotten", FLUSH_SECONDS, LAST_SECONDS)

    def _tags(self, changes: Sequence[Change]) -> Iterator[bytes]:
        names = self.names
        if names is None:
            return
        if len(changes) > BULK_MOST:
            yield from (names.table(change.table) for change in changes)
            return
        for change in changes:
            kept = self._kept.get(change.table)
            if kept is None:
                continue
            if change.key is None:
                yield names.table(change.table)
                continue
            for values in (change.old, change.new):
                if values is not None:  # a change may give the row another key; where clients see keys, both are among the values
                    yield from kept.written(names, values.get(kept.primary, change.key), values)
