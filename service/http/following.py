"""Follows jobs for streams: one look at all of them together, four times a second, on the connection aside.

A stream that waits holds no connection, whatever it waits for: it is woken when its job has changed. What changes more often than
somebody looks, or than a client reads, is told once. Nothing looks while nobody follows, or while no change could be told.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field

import structlog

from service.db import Database
from service.http.draining import Traffic
from service.jobs.watching import UNSEEN, Changes, Seen

LOOK_SECONDS = 0.25
GIVE_UP_SECONDS = 2.0
"""After which a look is given up: the database stands still, and the process may have to end."""
log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Followed:
    """A job that streams follow.

    Attributes:
        seen: what it was like at the last look.
        streams: how many follow it.
        changed: is done when it isn't what `seen` was any more.
    """

    seen: Seen
    streams: int = 0
    changed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def wake(self) -> None:
        """Have every stream look."""
        self.changed.set_result(None)
        self.changed = asyncio.get_running_loop().create_future()


class Following:
    """The jobs that one process follows.

    Args:
        database: where they stand.
        changes: asks for them.
        traffic: tells whether the process is about to end.
    """

    def __init__(self, database: Database, changes: Changes, traffic: Traffic) -> None:
        self.traffic = traffic
        self._database, self._changes = database, changes
        self._followed: dict[int, Followed] = {}
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._followed)

    @property
    def looks(self) -> bool:
        """Whether somebody looks again and again: as long as there are streams, and a moment longer."""
        return self._looking is not None and not self._looking.done()

    async def find(self, id_: int) -> Seen | None:
        """What a job is like now; None where there is none.

        Raises:
            Problem: the database is away, busy or slow.
        """
        known: Mapping[int, int] = {id_: UNSEEN}
        found = await self._database.read(lambda session: self._changes.since(session, known))
        return next(iter(found), None)

    @contextmanager
    def follow(self, seen: Seen) -> Iterator[Followed]:
        """Follow a job for as long as the block lasts."""
        followed = self._followed.setdefault(seen.id, Followed(seen))
        if seen.version > followed.seen.version:
            followed.seen = seen
            followed.wake()  # streams that follow it already: the next look finds nothing newer
        followed.streams += 1
        if not self.looks:  # in a context of its own: it outlives the request that began it
            self._looking = asyncio.create_task(self._look_again_and_again(), name="following jobs", context=Context())
        try:
            yield followed
        finally:
            followed.streams -= 1
            if not followed.streams:
                del self._followed[seen.id]

    async def aclose(self) -> None:
        """Look no more."""
        if self._looking:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look_again_and_again(self) -> None:
        able = True
        while self._followed:
            await asyncio.sleep(LOOK_SECONDS)
            if self.traffic.draining:
                for followed in self._followed.values():
                    followed.wake()
                continue
            try:
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    await self._look()
                able = True
            except Exception as error:  # noqa: BLE001  # whatever it is, it goes on: clients wait, and are none the worse
                if able:
                    log.warning("jobs can't be followed", reason=str(error).partition("\n")[0] or type(error).__name__)
                able = False

    async def _look(self) -> None:
        known = {id_: followed.seen.version for id_, followed in self._followed.items() if not followed.seen.ended}
        if not known:
            return
        async with self._database.aside() as session:
            found = await self._changes.since(session, known)
        for seen in found:
            followed = self._followed.get(seen.id)
            if followed:
                followed.seen = seen
                followed.wake()
