"""One reads, the others wait: whoever misses the same answer under the same marks.

The marks are what makes waiting right. Whoever sees the same marks as the one who reads could have begun that reading: had a write
been acknowledged in between, a mark would be another one. Whoever sees others reads anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context

from service.cache.entries import Held

Fly = Callable[[Callable[[Held], None]], Awaitable[None]]


class Flights:
    """Readings that are under way in this process."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, tuple[asyncio.Task[None], list[asyncio.Future[Held]]]] = {}
        self._landed: dict[Hashable, Held] = {}

    def join(self, key: Hashable, fly: Fly) -> "tuple[asyncio.Future[Held], bool]":
        """The answer of a reading that is begun, or is under way already; and whether it was.

        Args:
            key: what is read, and the marks that were seen.
            fly: reads, and hands the answer over as soon as it is there; it may go on after that. It is
                nobody's: who waits may leave.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Held] = loop.create_future()
        if key in self._landed:
            answer.set_result(self._landed[key])
            return answer, True
        flight = self._under_way.get(key)
        if flight:
            flight[1].append(answer)
            return answer, True
        task = loop.create_task(self._flown(key, fly), context=Context())
        self._under_way[key] = task, [answer]
        return answer, False

    async def _flown(self, key: Hashable, fly: Fly) -> None:
        waiting = self._under_way[key][1]

        def land(held: Held) -> None:
            self._landed[key] = held
            for answer in waiting:
                if not answer.done():
                    answer.set_result(held)

        try:
            await fly(land)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to whoever asked
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
        finally:
            del self._under_way[key]
            self._landed.pop(key, None)
            for answer in waiting:
                answer.cancel()  # the service ends: no answer comes any more
