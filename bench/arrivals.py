"""Requests that arrive at fixed moments, however slowly they are answered: the load of an open loop. And a closed one beside it.

A closed loop, clients that wait for each answer before they ask again, slows down with the service that it measures, and never
shows an overload. Connections are kept open and used again; a request takes any that is idle, or makes another.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

LATE_SECONDS = 30.0
STEP_SECONDS = 0.001
HEAD_END = b"\r\n\r\n"
OK = 200


@dataclass
class Outcome:
    """How requests were answered.

    Attributes:
        seconds: status -> how long each took; 0: none came, or the connection broke.
        began: when the first was sent, by the performance counter.
        ended: status -> when each answer came, since then.
        lasted: seconds in which they were sent.
    """

    seconds: dict[int, list[float]] = field(default_factory=dict)
    ended: dict[int, list[float]] = field(default_factory=dict)
    began: float = field(default_factory=perf_counter)
    lasted: float = 0.0

    def add(self, status: int, sent: float) -> None:
        """Count an answer."""
        now = perf_counter()
        self.seconds.setdefault(status, []).append(now - sent)
        self.ended.setdefault(status, []).append(now - self.began)

    @property
    def answered(self) -> Counter[int]:
        """How many of each status there were."""
        return Counter({status: len(found) for status, found in self.seconds.items()})

    def of(self, status: int) -> Iterator[tuple[float, float]]:
        """When each answer of a status came, and how long it took."""
        return zip(self.ended.get(status, []), self.seconds.get(status, []), strict=True)

    def good(self, within: float = LATE_SECONDS) -> float:
        """Answers 200 each second, those that came within so many seconds of their request."""
        return sum(one <= within for one in self.seconds.get(OK, [])) / self.lasted

    def quantile(self, of: float, *statuses: int) -> float:
        """The time, in seconds, within which such a part of the answers of a status came; 0 where there were none."""
        found = sorted(one for status in statuses for one in self.seconds.get(status, []))
        return found[min(int(len(found) * of), len(found) - 1)] if found else 0.0


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._received = b""
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember how to send."""
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, request: bytes) -> int:
        """The status of the answer; 0 where the connection broke."""
        if self.closed or self._transport is None:
            return 0
        self._answer, self._received = asyncio.get_running_loop().create_future(), b""
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Collect an answer, which says how long it is."""
        self._received += data
        head, found, body = self._received.partition(HEAD_END)
        if not found:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) >= int(fields.get(b"content-length", 0)) and self._answer and not self._answer.done():
            if fields.get(b"connection") == b"close":
                self.closed = True
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the protocol's
        """Whoever waits is told."""
        self.closed = True
        if self._answer and not self._answer.done():
            self._answer.set_result(0)

    def close(self) -> None:
        """Leave, also in the middle of an answer."""
        self.closed = True
        if self._transport:
            self._transport.abort()


class Clients:
    """Whoever asks: connections to one address."""

    def __init__(self, port: int, path: str, headers: str = "") -> None:
        self._port = port
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n".encode()
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()

    async def ask(self, outcome: Outcome) -> None:
        """Ask once, and count the answer."""
        sent = perf_counter()
        status = 0
        try:
            async with asyncio.timeout(LATE_SECONDS):
                connection = self._taken() or await self._connect()
                status = await connection.ask(self._request)
        except (OSError, TimeoutError):
            pass
        else:
            if not connection.closed:
                self._idle.append(connection)
        outcome.add(status, sent)

    async def open_loop(self, rate: float, seconds: float) -> Outcome:
        """So many requests a second, for so many seconds, and their answers."""
        outcome, running = Outcome(), set()
        sent, due = 0, 0
        while (passed := perf_counter() - outcome.began) < seconds:
            due = int(passed * rate)
            for _ in range(due - sent):
                task = asyncio.ensure_future(self.ask(outcome))
                running.add(task)
                task.add_done_callback(running.discard)
            sent = due
            await asyncio.sleep(STEP_SECONDS)
        outcome.lasted = perf_counter() - outcome.began
        while running:
            await asyncio.wait(set(running))
        return outcome

    async def closed_loop(self, at_once: int, seconds: float) -> Outcome:
        """So many clients that ask again as soon as they are answered."""
        outcome = Outcome()

        async def client() -> None:
            while perf_counter() - outcome.began < seconds:
                await self.ask(outcome)

        await asyncio.gather(*(client() for _ in range(at_once)))
        outcome.lasted = perf_counter() - outcome.began
        return outcome

    def close(self) -> None:
        """Leave."""
        for connection in self._all:
            connection.close()

    def _taken(self) -> Connection | None:
        """A connection that nobody uses; the server may have closed some."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        self._all.add(connection)
        return connection
