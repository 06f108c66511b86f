"""What was written and what was read, and whether any read was too old: the checker, without a network.

A register is something with versions 1, 2, 3 and so on, each written once the one before was answered. A read doesn't always show
its version: a list that lacks a row tells only where the row isn't. So a read says which versions it fits, and it is right if it
fits one that it may have seen: none older than the newest that was acknowledged long enough before it began, and none newer than
what was sent before it ended.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

USUALLY_SECONDS, AFTER_FAULT_SECONDS = 0.05, 1.5


@dataclass(frozen=True)
class Read:
    """One answer.

    Attributes:
        key: of the register.
        began: when it was asked.
        ended: when it was answered.
        fits: whether a version explains it.
        shown: what it showed, for people.
    """

    key: str
    began: float
    ended: float
    fits: Callable[[int], bool]
    shown: str = ""


@dataclass
class Register:
    """The versions of one thing, from 1.

    Attributes:
        sent: when each was sent.
        acked: when those were acknowledged that were, and which.
    """

    sent: list[float] = field(default_factory=list)
    acked: list[tuple[float, int]] = field(default_factory=list)

    def oldest(self, at: float) -> int:
        """The newest version that was acknowledged at a time; 0: none."""
        before = bisect_right(self.acked, (at, len(self.sent) + 1))
        return self.acked[before - 1][1] if before else 0

    def newest(self, at: float) -> int:
        """The newest version that had been sent at a time."""
        return bisect_right(self.sent, at)


@dataclass
class History:
    """All that happened.

    Attributes:
        faults: when each began, and when it was over.
        losses: when a process found that Redis wasn't well, in order.
    """

    registers: dict[str, Register] = field(default_factory=lambda: defaultdict(Register))
    reads: list[Read] = field(default_factory=list)
    faults: list[tuple[float, float]] = field(default_factory=list)
    losses: Sequence[float] = ()

    def allowance(self, read: Read) -> float:
        """Seconds by which a read may be behind."""
        near = any(begin <= read.ended and read.began <= end + AFTER_FAULT_SECONDS for begin, end in self.faults)
        first = bisect_left(self.losses, read.began - AFTER_FAULT_SECONDS)
        near = near or (first < len(self.losses) and self.losses[first] <= read.ended + USUALLY_SECONDS)
        return AFTER_FAULT_SECONDS if near else USUALLY_SECONDS

    def is_right(self, read: Read, allowance: float) -> bool:
        """Whether a read that may be behind by so many seconds fits what was written."""
        register = self.registers[read.key]
        return any(map(read.fits, range(register.oldest(read.began - allowance), register.newest(read.ended) + 1)))

    def stale(self, losses: Iterable[float] = ()) -> Sequence[Read]:
        """The reads that were too old.

        Args:
            losses: when a process found that Redis wasn't well: faults that nobody made on purpose.
        """
        self.losses = sorted(losses)
        return [read for read in self.reads if not self.is_right(read, self.allowance(read))]

    def behind(self, read: Read) -> float:
        """Seconds by which a read is behind, in tenths; 0 for one that isn't."""
        return next((tenths / 10 for tenths in range(200) if self.is_right(read, tenths / 10)), 20.0)
