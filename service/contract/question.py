"""A question: what a client asks of a table, freed from HTTP and from SQL.

Names are the ones that clients use: a column (`published_year`), or a named expression over one (`title__folded`). Values are
Python values of the column's type; None is NULL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FOLDED = "__folded"


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of an order. NULL counts as smaller than any value."""

    name: str
    descending: bool = False

    def __str__(self) -> str:
        return f"-{self.name}" if self.descending else self.name


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range."""

    value: Any
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one key between two ends, or those that begin with a prefix. NULL is in no range."""

    name: str
    lower: Bound | None = None
    upper: Bound | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search looks for.

    Attributes:
        name: where: `title__folded`, `attributes`.
        operator: `icontains` or `has`.
        value: a part of the text as the client wrote it, or a JSON object as text.
    """

    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.name.removesuffix(FOLDED)}__{self.operator}="


@dataclass(frozen=True, slots=True)
class Question:
    """Filters and an order.

    Attributes:
        equals: name -> the value it must have; None asks for NULL.
        ranges: at most one for each name.
        among: name -> the values it may have (`__in`).
        sort: the order asked for; None where nobody said.
        searches: what is searched for; served only if there is nothing else.
    """

    equals: Mapping[str, Any] = field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    among: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    sort: tuple[Sort, ...] | None = None
    searches: tuple[Sought, ...] = ()

    def __str__(self) -> str:
        parts = [spelled(name) + ("null" if value is None else "") for name, value in self.equals.items()]
        parts += [part for found in self.ranges for part in range_spelled(found)]
        parts += [f"{name}__in=" for name in self.among]
        parts += map(str, self.searches)
        parts += [f"sort={joined(self.sort)}"] if self.sort else []
        return " & ".join(parts) or "everything"


def spelled(name: str) -> str:
    """The parameter that asks for equality with a name: `author_id=`, `title__iexact=`."""
    return f"{name.removesuffix(FOLDED)}__iexact=" if name.endswith(FOLDED) else f"{name}="


def prefix_spelled(name: str) -> str:
    """The parameter that asks for a prefix of a name: `title__startswith=`, `title__istartswith=`."""
    return f"{name.removesuffix(FOLDED)}__istartswith=" if name.endswith(FOLDED) else f"{name}__startswith="


def range_spelled(asked: Range) -> list[str]:
    """The parameters that ask for a range."""
    if asked.prefix is not None:
        return [prefix_spelled(asked.name)]
    ends = ((asked.lower, "gt"), (asked.upper, "lt"))
    return [f"{asked.name}__{letter}{'e' if end.inclusive else ''}=" for end, letter in ends if end]


def joined(order: Sequence[Sort]) -> str:
    """An order as the parameter `sort` spells it: `-published_year,-id`."""
    return ",".join(map(str, order))
