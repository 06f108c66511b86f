"""Point reads that come at the same time go to the database together.

While a statement is under way, keys that are asked for wait; the next one takes all of them. So a quiet service asks for each key
at once, and a busy one asks less often for more. Keys join a statement until its connection is there, never later: whoever asks
after a write was acknowledged gets what was written.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextvars import Context
from time import monotonic
from typing import Generic, TypeVar

from service.errors import Problem, ValueRefused

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
TOGETHER_MOST = 64
FLIGHTS_MOST = 4
STUCK_SECONDS = 0.02
"""How old a statement may be before others no longer wait for its end."""


class Coalescing(Generic[K, V]):
    """Asks for the rows of single keys together.

    Args:
        ask: is given what takes the keys, to be called when the connection is there, and gives what was found: key -> row.

    Attributes:
        asked: how many keys were asked for.
        sent: how many times `ask` was called for them.
    """

    def __init__(self, ask: Callable[[Callable[[], Sequence[K]]], Awaitable[Mapping[K, V]]]) -> None:
        self._ask = ask
        self._waiting: deque[tuple[K, asyncio.Future[V | None]]] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._stuck: asyncio.TimerHandle | None = None
        self._since = 0.0
        self.asked = self.sent = 0

    def get(self, key: K) -> "asyncio.Future[V | None]":
        """The row with a key, once it is there; None where there is none.

        Args:
            key: one that the database takes for the type that it is.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V | None] = loop.create_future()
        self._waiting.append((key, answer))
        self.asked += 1
        if not self._flights:
            self._fly(loop)
        elif self._stuck is None:
            self._watch(loop)
        return answer

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again when the statement that is under way has become old."""
        self._stuck = loop.call_later(self._since + STUCK_SECONDS - monotonic(), self._go_on, loop)

    def _fly(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send a statement, for whoever waits when it has its connection. It is nobody's: no deadline, no cancellation."""
        self._since = monotonic()
        task = loop.create_task(self._flown(), context=Context())
        self._flights.add(task)
        task.add_done_callback(self._flights.discard)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where a statement takes long, who came after it gets another one; a newer one is waited for."""
        self._stuck = None
        if self._waiting and monotonic() - self._since < STUCK_SECONDS:
            self._watch(loop)
        elif self._waiting and len(self._flights) < FLIGHTS_MOST:
            self._fly(loop)

    async def _flown(self) -> None:
        try:
            while self._waiting:
                self._since = monotonic()
                await self._together([])
        finally:  # at once: a task's end is called back later, and whoever comes before that would wait for what is over
            self._flights.discard(asyncio.current_task())

    async def _together(self, batch: list[tuple[K, "asyncio.Future[V | None]"]]) -> None:
        """Ask for the keys that wait."""

        def keys() -> list[K]:
            if not batch:
                self._take(batch)
            return list(dict.fromkeys(key for key, _ in batch))

        self.sent += 1
        try:
            found = await self._ask(keys)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to whoever asked
            if not batch:
                self._take(batch)
            await self._apart(batch, error)
        else:
            for key, answer in batch:
                if not answer.done():
                    answer.set_result(found.get(key))

    def _take(self, batch: list[tuple[K, "asyncio.Future[V | None]"]]) -> None:
        while self._waiting and len(batch) < TOGETHER_MOST:
            one = self._waiting.popleft()
            if not one[1].done():
                batch.append(one)

    async def _apart(self, batch: list[tuple[K, "asyncio.Future[V | None]"]], error: Exception) -> None:
        """Let each key fail for itself: only one of them may be to blame. What befell the database befell all of them."""
        common = len(batch) == 1 or (isinstance(error, Problem) and not isinstance(error, ValueRefused))
        for key, answer in batch:
            if not common and not answer.done():
                await self._alone(key, answer)
            elif not answer.done():
                answer.set_exception(error)

    async def _alone(self, key: K, answer: "asyncio.Future[V | None]") -> None:
        self.sent += 1
        try:
            found = await self._ask(lambda: [key])
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to whoever asked
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(found.get(key))
