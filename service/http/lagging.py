"""Whether the event loop has more to do than it can, told by how late its timer is.

A loop that is asked for more than it can do goes round ever more slowly, as each round has more to do. Refusing takes a part of the
time of answering, so the rounds grow short again when all is refused, and when they have, what had piled up is gone.
"""

from service.telemetry.counting import Spread

LATE_TICKS = 3
"""Ticks in a row that must be late: one long piece of work is no overload."""
CALM = 0.25
"""The part of the lag that is allowed to which it has to go down before requests are taken again."""
REFUSING_SECONDS = 3.0
"""For how long all are refused before some are tried again: where others use up the processor, the lag may stay as it is."""


class Lag:
    """What the ticks of a timer say.

    Args:
        most: seconds by which a tick may be late.

    Attributes:
        seconds: by which the last one was.
        over: whether requests are to be refused.
        ticks: how late the ticks were.
    """

    def __init__(self, most: float) -> None:
        self.seconds, self.over = 0.0, False
        self.ticks = Spread()
        self._most, self._late, self._until = most, 0, 0.0

    def tick(self, seconds: float, now: float) -> None:
        """Take in a tick that was so many seconds late."""
        self.seconds = seconds
        self.ticks.add(seconds)
        if self.over:
            if seconds <= self._most * CALM or now >= self._until:
                self._late = 0
        elif seconds > self._most:
            self._late += 1
            self._until = now + REFUSING_SECONDS
        else:
            self._late = 0
        self.over = self._late >= LATE_TICKS

    @property
    def calm(self) -> bool:
        """Whether nothing is late."""
        return not self._late
