"""Reading through: what is kept is answered, what isn't is read and then kept, if it was still so when it arrived.

One MGET gives an answer and all marks under which it may be valid, as they are at one moment. It is valid if they are those that it
was kept under. Otherwise whoever asks reads the database, and the answer is kept only if the marks seen before still stand: a
write meanwhile has taken one away. A tag without a mark gets a new one before the database is read, never the same again.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from service.cache.entries import Held, mark, packed, stamp, unpacked
from service.cache.flight import Flights
from service.cache.pipe import Pipe, Script

ABSENT_SECONDS = 2.0
"""For how long it is kept that there is no such row."""
TAG_SECONDS = 4
"""A tag's mark lives for so many times as long as what is kept under it."""
JITTER = 0.2
"""Up to this part of its time each answer is forgotten earlier, so that those made together don't go together."""
BYTES_MOST = 1_048_576
LEASE, LEASE_SECONDS = b"l", 0.2
"""For how long one process may read before others do so, too."""
LOOKS, LOOK_SECONDS = 20, 0.005
"""How often others look for what it keeps before they read, and how long they wait between."""
FILL = Script("""
-- Keep an answer, if the marks are those that were seen before it was read. KEYS: marks, then where it is kept.
-- ARGV: the marks as they were, the answer, its milliseconds.
local marks = #KEYS - 1
for at = 1, marks do
  if redis.call('GET', KEYS[at]) ~= ARGV[at] then return 0 end
end
redis.call('SET', KEYS[#KEYS], ARGV[marks + 1], 'PX', ARGV[marks + 2])
return 1
""")
HIT, MISS, PASS = "hit", "miss", "pass"
NONE: Sequence[bytes | None] = (None,)
Load = Callable[[], Awaitable[Held]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an answer is kept, and under what.

    Attributes:
        entry: its name.
        marks: the names of the epoch and of its tags.
        seconds: for how long, at the most.
    """

    entry: bytes
    marks: Sequence[bytes]
    seconds: float


@dataclass(slots=True)
class Counts:
    """What became of what was asked, and of what was to be kept.

    Attributes:
        hits: answered from Redis.
        misses: read from the database, to be kept.
        passed: read from the database, since Redis is away, or nothing may be believed at the moment.
        joined: of the misses, those that another one's reading answered.
        fills: answers that were kept.
        refused: those that weren't, since they might no longer have been so.
        bytes: kept in all.
    """

    hits: int = 0
    misses: int = 0
    passed: int = 0
    joined: int = 0
    fills: int = 0
    refused: int = 0
    bytes: int = 0


class Store:
    """Answers kept in one Redis.

    Attributes:
        counts: what became of what was asked.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe, self._flights = pipe, Flights()
        self._marking: dict[bytes, asyncio.Task[Sequence[bytes | None]]] = {}
        self.counts = Counts()

    async def read(self, place: Place, load: Load) -> tuple[Held, str]:
        """An answer, and how it was come by: `hit`, `miss`, or `pass` where nothing may be believed.

        Args:
            place: where it may be.
            load: reads it from the database.

        Raises:
            Problem: the database refused.
        """
        counts = self.counts
        found = await self._pipe.fetch((*place.marks, place.entry))
        if found is None or found[0] is None:
            counts.passed += 1
            return await load(), PASS
        kept = found.pop()
        under = stamp(found)
        held = unpacked(under, kept) if under else None
        if held:
            counts.hits += 1
            return held, HIT
        marks = found if under else await self._marked(place, found)
        under = under or stamp(marks)
        if under is None:
            counts.passed += 1
            return await load(), PASS
        counts.misses += 1
        return await self._flown(place, marks, under, load), MISS

    async def _marked(self, place: Place, marks: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """Give marks to tags that have none, and see all of them again; once for all who want that in the same turn, and no later.

        Whoever came later might have come after a write, and would be told of marks from before it.
        """
        going = self._marking.get(place.entry)
        if going is None:
            going = self._marking[place.entry] = asyncio.ensure_future(self._mark(place, marks))
        return await asyncio.shield(going)

    async def _mark(self, place: Place, marks: Sequence[bytes | None]) -> Sequence[bytes | None]:
        del self._marking[place.entry]  # nothing has been sent yet
        life = b"%d" % (place.seconds * TAG_SECONDS * 1000)
        lacking = [name for name, found in zip(place.marks, marks, strict=True) if found is None]
        found = await self._pipe.ask(*((b"SET", name, mark(), b"NX", b"PX", life) for name in lacking), (b"MGET", *place.marks))
        return found[-1] if found and isinstance(found[-1], list) else NONE

    async def _flown(self, place: Place, marks: Sequence[bytes | None], under: bytes, load: Load) -> Held:
        """Read, or wait for another one who reads under the same marks: nothing was written since that one saw them."""

        async def fly(land: Callable[[Held], None]) -> None:
            lease = place.entry + LEASE + under
            others = None if await self._leased(lease) else await self._others(place, under)
            if others:
                land(others)
                return
            try:
                held = replace(await load(), made_at=time.time())
                land(held)
                await self._keep(place, marks, packed(under, held), ABSENT_SECONDS if held.body is None else place.seconds)
            finally:
                await self._pipe.ask((b"DEL", lease))

        answer, joined = self._flights.join((place.entry, under), fly)
        self.counts.joined += joined
        return await answer

    async def _leased(self, lease: bytes) -> bool:
        """Whether this process is the one that reads; the others give it a moment."""
        found = await self._pipe.ask((b"SET", lease, b"", b"NX", b"PX", b"%d" % (LEASE_SECONDS * 1000)))
        return found is None or found[0] is not None

    async def _others(self, place: Place, under: bytes) -> Held | None:
        """What another process has read and kept, under the same marks; None where it takes too long, or a write came between."""
        for _ in range(LOOKS):
            await asyncio.sleep(LOOK_SECONDS)
            found = await self._pipe.fetch((*place.marks, place.entry))
            if found is None or stamp(found[:-1]) != under:
                return None
            held = unpacked(under, found[-1])
            if held:
                return held
        return None

    async def _keep(self, place: Place, marks: Sequence[bytes | None], kept: bytes, seconds: float) -> None:
        if len(kept) > BYTES_MOST:
            return
        life = min(seconds, place.seconds) * (1 - JITTER * random.random())  # noqa: S311  # no secret
        given = [found or b"" for found in marks]
        done = await self._pipe.run(FILL, (*place.marks, place.entry), (*given, kept, b"%d" % (life * 1000)))
        if done == 1:
            self.counts.fills += 1
            self.counts.bytes += len(kept)
        elif done == 0:
            self.counts.refused += 1
