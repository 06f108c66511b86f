"""Where one request's time went, for a client that asks: the header `Server-Timing`.

A request that doesn't ask costs the look at a variable wherever time is told.
"""

from contextvars import ContextVar
from time import perf_counter

MILLISECONDS = 1000


class Timing:
    """The parts of one request's time.

    Attributes:
        parts: name -> seconds.
    """

    __slots__ = ("_began", "parts")

    def __init__(self, *parts: str) -> None:
        self.parts = dict.fromkeys(parts, 0.0)
        self._began = perf_counter()

    def header(self) -> bytes:
        """As `Server-Timing` spells it, in milliseconds; the whole first."""
        parts = {"total": perf_counter() - self._began, **self.parts}
        return ", ".join(f"{name};dur={seconds * MILLISECONDS:.2f}" for name, seconds in parts.items()).encode()


TIMING: ContextVar[Timing | None] = ContextVar("timing", default=None)


def spent(part: str, seconds: float) -> None:
    """Tell that a part of the request's time was spent, if its client wants to know."""
    timing = TIMING.get()
    if timing is not None and part in timing.parts:
        timing.parts[part] += seconds
