"""A question's shape: names, operators, kinds of values and order, without the values.

What clients write never gets in. The one text that does is a literal that the contract itself names in a partial index, and
publishes: `status=waiting`. Without it nobody could tell which questions such an index would serve.
"""

import json
from dataclasses import dataclass
from typing import Any

from service.contract.choose import completed
from service.contract.path import Contract
from service.contract.question import Bound, Question, Range, Sort, Sought, joined, prefix_spelled, spelled
from service.contract.served import OPERATORS, SOME, literal, shortened

ANY, NULL, BETWEEN, PREFIX = "any", "null", "between", "prefix"
LITERAL = "="
"""How the kind of an equality begins whose value stands in the contract."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A question without its values; two questions of one shape are served by the same index, or by none.

    Attributes:
        equals: each name with the kind of its value: any, null, or a literal of the contract's own.
        ranges: each name with its kind: between two ends, or a prefix. Which ends, and whether they count, is left out.
        among: the names of `__in`.
        sort: the order asked for, as short as `sort` may spell it; None where nobody said.
        searches: each name with its operator.
    """

    equals: tuple[tuple[str, str], ...] = ()
    ranges: tuple[tuple[str, str], ...] = ()
    among: tuple[str, ...] = ()
    sort: str | None = None
    searches: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        parts = [spelled(name) + _shown(kind) for name, kind in self.equals]
        parts += [_range_spelled(name, kind) for name, kind in self.ranges]
        parts += [f"{name}__in=" for name in self.among]
        parts += [str(Sought(name, operator, "")) for name, operator in self.searches]
        parts += [f"sort={self.sort}"] if self.sort else []
        return " & ".join(parts) or "everything"

    @property
    def names(self) -> set[str]:
        """Every name in it."""
        of_filters = {*dict(self.equals), *dict(self.ranges), *self.among, *dict(self.searches)}
        return of_filters | {sort.name for sort in order_of(self.sort) or ()}

    def question(self, contract: Contract) -> Question:
        """A question of this shape, with a value in each place that stands for any other."""
        return Question(
            {name: _value(contract, name, kind) for name, kind in self.equals},
            tuple(_range(name, kind) for name, kind in self.ranges),
            dict.fromkeys(self.among, (SOME,)),
            order_of(self.sort),
            tuple(Sought(name, operator, "") for name, operator in self.searches),
        )

    def written(self) -> str:
        """The shape as JSON, always the same for the same shape."""
        told = {
            "equals": dict(self.equals),
            "ranges": dict(self.ranges),
            "among": self.among,
            "sort": self.sort,
            "searches": dict(self.searches),
        }
        return json.dumps({name: value for name, value in told.items() if value}, sort_keys=True, separators=(",", ":"))


def shape_of(contract: Contract, question: Question) -> Shape:
    """The shape of a question."""
    order = () if question.sort is None else shortened(contract, completed(contract, question))
    return Shape(
        tuple(sorted((name, _kind(contract, name, value)) for name, value in question.equals.items())),
        tuple(sorted((found.name, BETWEEN if found.prefix is None else PREFIX) for found in question.ranges)),
        tuple(sorted(question.among)),
        joined(order) if order else None,
        tuple(sorted((sought.name, sought.operator) for sought in question.searches)),
    )


def read(text: str) -> Shape:
    """A shape that was written as JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        told = json.loads(text)
        pairs = {part: tuple(sorted(dict(told.get(part, {})).items())) for part in ("equals", "ranges", "searches")}
        shape = Shape(pairs["equals"], pairs["ranges"], tuple(told.get("among", ())), told.get("sort"), pairs["searches"])
        _ = shape.names, str(shape)  # both speak of each part
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} isn't the shape of a question") from error
    return shape


def order_of(text: str | None) -> tuple[Sort, ...] | None:
    """An order as `sort` spells it."""
    return tuple(Sort(part.removeprefix("-"), part.startswith("-")) for part in text.split(",")) if text else None


def _kind(contract: Contract, name: str, value: Any) -> str:
    if value is None:
        return NULL
    own = any(term.name == name and term.value == value for path in contract.paths for term in path.predicate)
    return LITERAL + literal(value) if own else ANY


def _value(contract: Contract, name: str, kind: str) -> Any:
    """A value of a kind; a literal that the contract doesn't name any more is any value."""
    if kind == NULL:
        return None
    terms = (term for path in contract.paths for term in path.predicate if term.name == name and term.value is not None)
    return next((term.value for term in terms if kind == LITERAL + literal(term.value)), SOME)


def _shown(kind: str) -> str:
    return kind.removeprefix(LITERAL) if kind.startswith(LITERAL) else "" if kind == ANY else kind


def _range(name: str, kind: str) -> Range:
    return Range(name, prefix=" ") if kind == PREFIX else Range(name, lower=Bound(SOME, inclusive=True))


def _range_spelled(name: str, kind: str) -> str:
    return prefix_spelled(name) if kind == PREFIX else f"{name}__{'|'.join(OPERATORS)}="
