"""A service in a process of its own, with delays where a cache is likely to go wrong, and with one mistake if it is asked for.

`python -m tests.cache.serving [MISTAKE]`; settings come from the environment, as they do for `shelfmark serve`.
"""

import asyncio
import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import uvicorn

from service import settings
from service.app import create_app
from service.cache import dropping, entries, epoch, flight, store
from service.db import noticing
from service.db.drops import Change
from service.db.reading import Compiled
from service.http import writing

SHORT_SECONDS, LONG_SECONDS = 0.03, 0.4
odds = {"long": 0.05}
"""How many of the delays are long ones."""
COUNTED = b"1"


async def delayed() -> None:
    """Take a while, now and then a long one."""
    longest = LONG_SECONDS if random.random() < odds["long"] else SHORT_SECONDS  # noqa: S311
    await asyncio.sleep(random.random() * longest)  # noqa: S311


def delays() -> None:
    """Put delays between a commit and what is forgotten after it, and between a read and what is kept of it."""
    forget, flown, keep = dropping.Dropping.forget, store.Store._flown, store.Store._keep  # noqa: SLF001

    async def late_forget(self: dropping.Dropping, changes: Sequence[Change], notes: Sequence[int]) -> None:
        await delayed()
        await forget(self, changes, notes)

    async def late_flown(self: store.Store, place: store.Place, marks: Any, under: bytes, load: store.Load) -> Any:
        async def late_load() -> Any:
            found = await load()
            await delayed()
            return found

        return await flown(self, place, marks, under, late_load)

    async def late_keep(self: store.Store, place: store.Place, marks: Any, kept: bytes, seconds: float) -> None:
        await delayed()
        await keep(self, place, marks, kept, seconds)

    dropping.Dropping.forget = late_forget  # type: ignore[method-assign]
    store.Store._flown = late_flown  # type: ignore[method-assign]  # noqa: SLF001
    store.Store._keep = late_keep  # type: ignore[method-assign]  # noqa: SLF001


def drop_before_commit() -> None:
    """Forget first, write then."""
    write = writing.Writer._write  # noqa: SLF001

    async def early(self: writing.Writer, what: Any, statement: Compiled, values: Mapping[str, Any]) -> Any:
        database = self._database
        caches, database.caches = database.caches, None
        try:
            if caches:
                await caches.forget([Change(self._of.contract.table)], [])
            await delayed()
            return await write(self, what, statement, values)
        finally:
            database.caches = caches

    writing.Writer._write = early  # type: ignore[method-assign]  # noqa: SLF001


def fill_without_guard() -> None:
    """Keep an answer under the marks that stand when it arrives."""
    keep = store.Store._keep  # noqa: SLF001

    async def unguarded(self: store.Store, place: store.Place, marks: Any, kept: bytes, seconds: float) -> None:
        found = await self._marked(place, [None for _ in marks])
        now = entries.stamp(found)
        if now:
            await keep(self, place, found, now + kept[len(now) :], seconds)

    store.Store._keep = unguarded  # type: ignore[method-assign]  # noqa: SLF001


def no_drop_on_batch() -> None:
    """Forget nothing when rows are added together."""
    noticing.Noticed.created = lambda *_: None  # type: ignore[method-assign]


def counters_as_tags() -> None:
    """Count instead of drawing at random; what was flushed is counted from the beginning again."""
    odds["long"] = 0.5
    for module in (store, epoch):
        setattr(module, "mark", lambda: COUNTED)  # noqa: B010  # a name that it imports

    async def counted(self: dropping.Dropping, tags: Sequence[bytes]) -> bool:
        return await self._pipe.ask(*((b"INCR", tag) for tag in tags)) is not None

    dropping.Dropping.drop = counted  # type: ignore[method-assign]


def join_an_older_flight() -> None:
    """Wait for whoever reads the same, whenever that began."""
    join = flight.Flights.join

    def joined(self: flight.Flights, key: Any, fly: flight.Fly) -> Any:
        return join(self, key[0], fly)

    flight.Flights.join = joined  # type: ignore[method-assign]


def no_epoch() -> None:
    """Believe all that is kept, for as long as it is kept."""
    epoch.LIFE_SECONDS = 3600.0


MISTAKES = {
    made.__name__: made
    for made in (drop_before_commit, fill_without_guard, no_drop_on_batch, counters_as_tags, join_an_older_flight, no_epoch)
}


def main() -> None:
    """Serve."""
    delays()
    for name in sys.argv[1:]:
        MISTAKES[name]()
    loaded = settings.load()
    uvicorn.run(create_app(loaded), host=loaded.host, port=loaded.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
