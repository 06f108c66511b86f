"""Until when a request is to be answered: set by whoever takes it in, heeded by the gates and by what runs in the database.

It also says whether the request may still be broken off. Once a unit of work is being committed it may not: whoever asked would be
told that nothing was done.
"""

from contextvars import ContextVar
from time import monotonic


class Deadline:
    """A moment, and whether what goes on may be broken off then.

    Attributes:
        at: seconds on the monotonic clock.
        firm: a unit of work has begun to commit, so the request runs to its end.
    """

    firm = False

    def __init__(self, at: float) -> None:
        self.at = at


DEADLINE: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def left(most: float) -> float:
    """Seconds that a statement may take: as many as the request has left, at the most `most`, and never less than none."""
    deadline = DEADLINE.get()
    return most if deadline is None else max(0.0, min(most, deadline.at - monotonic()))


def until() -> float | None:
    """The moment of the request's deadline on the monotonic clock; None where nobody has set one."""
    deadline = DEADLINE.get()
    return None if deadline is None else deadline.at


def stand_firm() -> None:
    """From here on the request runs to its end: what it does now must be told to whoever asked."""
    deadline = DEADLINE.get()
    if deadline is not None:
        deadline.firm = True


def stand_down() -> None:
    """Nothing was done after all: the request may be broken off again."""
    deadline = DEADLINE.get()
    if deadline is not None:
        deadline.firm = False
