"""Numbers: what families of them there are, how one is counted, and how those of several processes become one.

Counting is an addition to a number that whoever counts has kept: no name is looked up, no lock is taken. A histogram's numbers are
how many values each of its ranges had, the last range open, and then the sum of all values.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Labels = tuple[str, ...]
Numbers = dict[str, dict[Labels, list[float]]]
"""Family -> values of its labels -> its numbers: one, or a histogram's."""
Told = Iterable[tuple[str, Labels, list[float]]]
Source = Callable[[], Told]
"""Whoever counts, asked for what it has counted."""
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for what takes between a tenth of a millisecond and ten seconds."""


@dataclass(frozen=True, slots=True)
class Family:
    """Numbers of one kind, told apart by labels.

    Attributes:
        name: with its unit at the end: `_seconds`.
        labels: the names of what tells its numbers apart: each has few values, whoever asks for what.
        bounds: a histogram's upper bounds.
        together: how the gauges of several processes become one.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    together: Literal["sum", "max"] = "sum"

    @property
    def size(self) -> int:
        """How many numbers each of its series has."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Spread:
    """How often values came, by range; a histogram of one set of labels.

    Attributes:
        counts: how many values were at most each bound, and above the one before; the last: above all.
        total: their sum.
    """

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value, or several that are the same."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.total += value * times

    def numbers(self) -> list[float]:
        """As a histogram's numbers."""
        return [*self.counts, self.total]


def gathered(sources: Iterable[Source]) -> Numbers:
    """What all sources have counted. Where two tell of the same series, they are added up."""
    found: Numbers = {}
    for source in sources:
        for name, labels, numbers in source():
            series = found.setdefault(name, {})
            before = series.get(labels)
            series[labels] = [sum(pair) for pair in zip(before, numbers, strict=True)] if before else numbers
    return found


def together(families: Mapping[str, Family], living: Iterable[Numbers], gone: Iterable[Numbers] = ()) -> Numbers:
    """The numbers of several processes as one's.

    Args:
        families: those that are known, by name; numbers of others, or of another size, come from another version, and are left out.
        living: of the processes that run.
        gone: of those that ended: what they counted stays, what they had at the moment doesn't.
    """
    found: Numbers = {}
    for lives, numbers in [*((True, one) for one in living), *((False, one) for one in gone)]:
        for name, series in numbers.items():
            family = families.get(name)
            if family and (lives or family.kind != "gauge"):
                _add(family, found.setdefault(name, {}), series)
    return found


def _add(family: Family, to: dict[Labels, list[float]], series: Mapping[Labels, list[float]]) -> None:
    join = max if family.together == "max" else sum
    for labels, numbers in series.items():
        if len(numbers) == family.size and len(labels) == len(family.labels):
            before = to.get(labels)
            to[labels] = [join(pair) for pair in zip(before, numbers, strict=True)] if before else list(numbers)
