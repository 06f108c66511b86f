"""A gate before a pool: as many permits as connections, given out in the order of asking, and refused at once where it's too late.

Whoever would wait longer than the gate's patience, or than their own deadline allows, is told so immediately instead of waiting in
vain. What is expected is measured: the queue's length times the mean time that a permit is held, divided by the permits, and the
time for which nothing has moved.

A queue that reaches the limit of its patience is more than a burst: more is asked than can be done. Serving such a queue in order
gives everybody a late answer, so while that lasts only as many may wait as there are permits, or as have their turn within 25 ms:
whoever is let in has it within one hold, even where all permits come back at the same moment, and is answered within two.
"""

import asyncio
from collections import deque
from contextvars import ContextVar
from time import monotonic

from service.db.faults import BUSY
from service.errors import Overloaded
from service.telemetry.timing import spent

WAIT, HELD = "wait", "db"
"""What a request is told that it spent here: waiting for a connection, and holding one."""
LAST = 27
"""Bucket n counts the times below 2**n microseconds that the bucket before doesn't; the last one all from 67 s on."""
BOUNDS = tuple(2**n / 1e6 for n in range(LAST))
"""The upper bounds of all buckets but the last, in seconds."""
MICROSECONDS = 1e6
HURRY_SECONDS = 1.0
"""For how long the gate stays in a hurry after it has refused somebody."""
HOLDS_WAITED = 1.0
"""More than one would be two, for some, where all permits come back together. One is enough to keep every permit in use."""
HURRIED_WAIT_SECONDS = 0.025
"""Less would turn away clients that ask again at once, 32 of them for four permits and a hold of a millisecond; and since each of
them keeps the gate in a hurry, it would never end."""
WEIGHT = 1 / 16
NESTED = (
    "A connection of this pool is asked for while another one is held. If everybody did that, all would wait for each other: "
    "use the one you have, or leave its block first; that goes for tasks that are started inside, too."
)


class Gate:
    """A fair queue for a number of permits.

    Attributes:
        permits: how many there are.
        free: how many nobody has.
        waits: how many permits were waited for, by time: see `BOUNDS`.
        holds: how many were held, by time.
        waited: seconds waited in all.
        held: seconds held in all.
        mean: seconds for which a permit is held at present, the last 16 or so.
        sheds: reason -> how many were refused at once: `queue` (it is full), `deadline` (their turn would come too late), `hurry`
            (more is asked than can be done).
        timeouts: how many waited in vain.
    """

    def __init__(self, permits: int, *, patience_seconds: float, queue_most: int) -> None:
        self.permits = self.free = permits
        self.patience, self.queue_most = patience_seconds, queue_most
        self.waits, self.holds = [0] * (LAST + 1), [0] * (LAST + 1)
        self.waited = self.held = self.mean = 0.0
        self.sheds = {"queue": 0, "deadline": 0, "hurry": 0}
        self.timeouts = 0
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._mine: ContextVar[Permit | None] = ContextVar("permit", default=None)
        self._moved = self._hurried = 0.0

    @property
    def queued(self) -> int:
        """How many wait now."""
        return len(self._queue)

    async def take(self, by: float | None = None) -> "Permit":
        """A permit, as soon as all who came before have had theirs.

        Args:
            by: until when it is of use, on the monotonic clock; None: only the gate's own patience counts.

        Raises:
            Overloaded: it can't be had in time.
            RuntimeError: whoever asks has one.
        """
        mine, now = self._mine.get(), monotonic()
        if mine is not None and mine.held:
            raise RuntimeError(NESTED)
        if self.free:
            self.free -= 1
            self.waits[0] += 1
        else:
            now = await self._turn(now, by)
        self._moved = now
        permit = Permit(self, now)
        self._mine.set(permit)
        return permit

    def spare(self) -> "Permit | None":
        """A permit that nobody else wants now, for upkeep: it isn't measured. None where there is none."""
        if not self.free:
            return None
        self.free -= 1
        self._moved = monotonic()
        return Permit(self, None)

    def admit(self) -> None:
        """Refuse at once whoever would be refused here, before any work is done for them.

        Raises:
            Overloaded: the queue is too long.
        """
        if not self.free:
            now = monotonic()
            self._admit(now, self.patience)

    def expected(self, now: float) -> float:
        """For how many seconds a newcomer would wait; what hasn't moved for a while is expected to stand for as long again."""
        turn = self.mean * (len(self._queue) + 1) / self.permits
        standing = now - self._moved
        return turn + standing if standing > self.mean else turn

    async def _turn(self, now: float, by: float | None) -> float:
        """Wait, and say when it was over."""
        within = self.patience if by is None else min(self.patience, by - now)
        self._admit(now, within)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(within, self._expire, waiter)
        self._queue.append(waiter)
        try:
            granted = await waiter
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            timer.cancel()
        if not granted:
            raise Overloaded(BUSY)
        over = monotonic()
        self.waited += over - now
        spent(WAIT, over - now)
        self.waits[min(int((over - now) * MICROSECONDS).bit_length(), LAST)] += 1
        return over

    def _admit(self, now: float, within: float) -> None:
        """Let a newcomer wait, or refuse."""
        expected = self.expected(now)
        if len(self._queue) >= self.queue_most:
            reason = "queue"
        elif expected > within:
            reason = "deadline"
        elif now < self._hurried and expected > self._hurry():
            reason = "hurry"
        else:
            return
        self.sheds[reason] += 1
        if reason != "deadline" or expected > self.patience:  # else it's the newcomer who has no time
            begins = now >= self._hurried
            self._hurried = now + HURRY_SECONDS
            if begins:
                self._cut()
        raise Overloaded(BUSY)

    def _hurry(self) -> float:
        """Seconds that may be waited in a hurry."""
        return max(HURRIED_WAIT_SECONDS, HOLDS_WAITED * self.mean)

    def _cut(self) -> None:
        """Refuse the end of the queue, whose turn would come too late in a hurry."""
        most = max(1, int(self._hurry() * self.permits / self.mean)) if self.mean else self.permits
        while len(self._queue) > most:
            waiter = self._queue.pop()
            if not waiter.done():
                self.sheds["hurry"] += 1
                waiter.set_result(False)

    def _expire(self, waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            self.timeouts += 1
            self._queue.remove(waiter)
            waiter.set_result(False)

    def _leave(self, waiter: asyncio.Future[bool]) -> None:
        """Undo the waiting of a cancelled task, also where its turn had just come."""
        if waiter.cancelled():
            if waiter in self._queue:
                self._queue.remove(waiter)
        elif waiter.result():
            self.pass_on()

    def pass_on(self) -> None:
        """Give a permit that came back to the next in line."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(True)
                self._moved = monotonic()
                return
        self.free += 1

    def count(self, held: float) -> None:
        """Remember for how many seconds a permit was held."""
        self.held += held
        spent(HELD, held)
        bucket = int(held * MICROSECONDS).bit_length()
        self.holds[min(LAST, bucket)] += 1
        self.mean += (held - self.mean) * WEIGHT if self.mean else held


class Permit:
    """The right to use one connection. It is given back once; whoever has it may do that.

    Attributes:
        held: whether it counts as held by whoever took it, who may then not take another.
    """

    __slots__ = ("_gate", "_since", "held")

    def __init__(self, gate: Gate, since: float | None) -> None:
        self._gate: Gate | None = gate
        self._since = since
        self.held = True

    def give_back(self) -> None:
        """Let the next one have it. A second call does nothing."""
        gate = self._gate
        if gate is None:
            return
        self._gate = None
        self.held = False
        if self._since is not None:
            gate.count(monotonic() - self._since)
        gate.pass_on()

    def hand_over(self) -> None:
        """Leave it to another task, which gives it back."""
        self.held = False
