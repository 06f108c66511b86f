"""The layer that gives each request its deadline, notices clients that leave, and refuses what can't be done in time anyway.

A request that is broken off is cancelled where it stands: its statement is stopped in the database and its connection comes back.
One whose unit of work has begun to commit runs to its end.

Almost every request is answered before anybody looks at it: one timer, 50 times a second, looks at those that are 20 ms old. The
same timer tells how far the event loop lags behind. Where that is more than a moment's work, or the gates have long queues, more is
asked than this process can do: refusing costs a twentieth of answering, and leaves time to answer the others.
"""

import asyncio
from collections import deque
from time import monotonic
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.db.deadline import DEADLINE, Deadline
from service.db.gate import Gate
from service.errors import Overloaded, TimedOut
from service.http.lagging import Lag
from service.http.room import LONGER

TICK_SECONDS = YOUNG_SECONDS = 0.02
STUCK_SECONDS = 5.0
NEVER = float("inf")
HEALTH = frozenset({"/livez", "/readyz", "/metrics"})
READS = frozenset({"GET", "HEAD", "OPTIONS"})
LAGS = "The service has more to do than it can. Try again in a moment."
LATE = "The request took longer than it may, and was stopped. Nothing was written. Ask for less, or try again in a moment."


class Leaving:
    """Gives requests a deadline, and breaks off those that nobody waits for any more.

    Args:
        app: what is inside.
        seconds: in which a request must begin to be answered.
        reads: the gate that requests will come to which read.
        writes: likewise those which write.
        watch: what looks at the requests, and at the event loop.
    """

    def __init__(self, app: ASGIApp, seconds: float, reads: Gate, writes: Gate, watch: "Watch") -> None:
        self.app, self.watch = app, watch
        self._seconds, self._reads, self._writes = seconds, reads, writes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["path"] in HEALTH:
            await self.app(scope, receive, send)
            return
        watch = self.watch
        if watch.lag.over:
            watch.shed += 1
            raise Overloaded(LAGS)
        gate = self._reads if scope["method"] in READS else self._writes
        if not gate.free:
            gate.admit()
        now = monotonic()
        longer: float = scope["state"].get(LONGER, 0.0)
        flight = Flight(now + self._seconds + longer, now + YOUNG_SECONDS, receive, send, asyncio.current_task(watch.loop))
        watch.flights.add(flight)
        if now > watch.again:
            watch.wind(now, flight)
        before = DEADLINE.set(flight)
        try:
            await self.app(scope, flight.receive, flight.send)
        except asyncio.CancelledError:
            if not flight.settle():
                raise  # by somebody else
            if not flight.left:
                watch.late += 1
                raise TimedOut(LATE) from None
            watch.left += 1
        finally:
            flight.over = True
            watch.flights.discard(flight)
            if flight.looked_at:
                flight.end()
            DEADLINE.reset(before)


class Watch:
    """One timer for all requests.

    Args:
        lag_seconds: by how much the event loop may lag behind.

    Attributes:
        flights: requests under way. One that is over is forgotten at once: what lives on for a moment, thousands of times a second,
            costs more in garbage collections than all else here.
        again: from when on, on the monotonic clock, the timer has to be wound again: nobody looks, or the loop that did is gone.
        loop: the one that it runs in.
        lag: how late it is, and whether that is too much.
        shed: how many requests were refused because of that.
        late: how many were stopped at their deadline.
        left: how many were stopped because their client had left.
    """

    def __init__(self, lag_seconds: float) -> None:
        self.flights: set[Flight] = set()
        self.again = 0.0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lag = Lag(lag_seconds)
        self.shed = self.late = self.left = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def wind(self, now: float, flight: "Flight | None" = None) -> None:
        """Look at the requests in a moment; the one that came first in a new loop doesn't know its task yet."""
        if flight:
            self.loop = asyncio.get_running_loop()
            flight.task = asyncio.current_task()
            if self._timer:
                self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        self._due = now + TICK_SECONDS
        self.again = self._due + STUCK_SECONDS

    def _tick(self) -> None:
        now = monotonic()
        self.lag.tick(now - self._due, now)
        for flight in self.flights:
            if flight.since <= now:
                flight.look(now)
        if self.flights or not self.lag.calm:
            self.wind(now)
        else:
            self._timer, self.again = None, 0.0


class Flight(Deadline):
    """A request under way: its deadline, and what goes between it and its client.

    To notice that a client has left, its messages have to be read; what belongs to the body is kept for whoever asks for it.

    Attributes:
        looked_at: it is no longer young.
        over: it is answered, or broken off.
        left: it was broken off, by its client.
    """

    looked_at = over = left = False
    _broken = _begun = _ended = _taking = False
    _held: deque[Message] | None = None
    _reading: asyncio.Future[Message] | None = None

    def __init__(self, at: float, since: float, receive: Receive, send: Send, task: asyncio.Task[Any] | None) -> None:
        self.at, self.since = at, since
        self._receive, self._send, self.task = receive, send, task

    async def receive(self) -> Message:
        """The client's next message."""
        while not self._held and self._reading is not None:
            await asyncio.wait([self._reading])
        if self._held:
            return self._held.popleft()
        self._taking = True
        try:
            return await self._receive()
        finally:
            self._taking = False

    def send(self, message: Message) -> Any:
        """Pass a part of the answer on, and remember how far it is."""
        if message["type"] == "http.response.start":
            self._begun = True
        elif not message.get("more_body"):
            self._ended = True
        return self._send(message)

    def look(self, now: float) -> None:
        """Break it off if it is late; else begin to notice whether its client leaves.

        An answer that has begun isn't late any more. Where its client is listened to as well there is nothing to look for, however
        many hours it goes on.
        """
        self.looked_at = True
        if self.firm:
            return
        if now >= self.at and not self._begun:
            self._break()
        elif self._reading is None and not self._taking and not self._held:
            self._read()
        elif self._begun and self._reading is not None:
            self.since = NEVER

    def end(self) -> None:
        """Stop looking."""
        if self._reading is not None:
            self._reading.cancel()
        self.settle()

    def settle(self) -> bool:
        """Take the cancellation back that came from here; whether there was one, and no other."""
        if not self._broken or self.task is None:
            return False
        self._broken = False
        return not self.task.uncancel()

    def _read(self) -> None:
        self._reading = asyncio.ensure_future(self._receive())
        self._reading.add_done_callback(self._has_read)

    def _has_read(self, reading: asyncio.Future[Message]) -> None:
        self._reading = None
        if reading.cancelled() or reading.exception():
            return  # whoever asks next is told themselves
        message = reading.result()
        self.since = 0.0
        self._held = self._held or deque()
        self._held.append(message)
        if self.over:
            return
        if message["type"] == "http.disconnect":
            if not self.firm and not self._ended:
                self.left = True
                self._break()
        elif not message.get("more_body"):
            self._read()  # the body is all there: what comes next is the end

    def _break(self) -> None:
        if not self._broken and self.task is not None:
            self._broken = True
            self.task.cancel()
