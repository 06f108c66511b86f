"""Questions of one shape: what is the same for all of them is worked out once, and only values are read after that.

A shape is what parameters a URL has, in their order, with those texts that decide what is read: an order, the members, a limit, a
NULL, a value that the predicate of an index may ask for. What a shape gives is exactly what `asking.py` and `choose` give for each
of its questions; whatever they refuse has no form.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.contract.choose import Choice
from service.contract.question import FOLDED, Bound, Question, Range, Sort
from service.db.reading import Compiled
from service.db.surface import Surface
from service.db.wire import wire
from service.http.asking import COMPARISONS, OWN, TEXT, bounded, split

Parameters = Sequence[tuple[str, str]]
Shape = tuple[Any, ...]
CURSOR = "cursor"
NULL = "null"
TEXT_MOST = 1000
"""Characters of the texts that decide; a form for longer ones would be asked for once."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a parameter's value belongs in a question.

    Attributes:
        name: of what is compared.
        operator: None for equality.
        parse: reads the value; None for a NULL, and for what is no filter.
    """

    name: str = ""
    operator: str | None = None
    parse: Callable[[str], Any] | None = None


@dataclass(slots=True)
class Form:
    """All questions of one shape.

    Attributes:
        choice: the path that serves them.
        columns: the names that are shown.
        limit: rows of a page.
        pages: which keys of the row before are NULL -> the statement of a page after it; none for a first page.
        seeds: a statement -> what its pages have in common, where they are kept: a hash.
    """

    choice: Choice
    columns: tuple[str, ...]
    limit: int
    sort: tuple[Sort, ...] | None
    slots: tuple[Slot, ...]
    among_most: int
    pages: dict[tuple[bool, ...], Compiled] = field(default_factory=dict)
    seeds: dict[str, bytes] = field(default_factory=dict)

    def question(self, parameters: Parameters) -> Question:
        """The question that these parameters ask.

        Raises:
            ValueError: one of them can't be read.
        """
        equals: dict[str, Any] = {}
        among: dict[str, tuple[Any, ...]] = {}
        ends: dict[str, dict[str, Any]] = {}
        for slot, (_, text) in zip(self.slots, parameters, strict=True):
            if not slot.name:
                continue
            if slot.parse is None:
                equals[slot.name] = None
            elif slot.operator is None:
                equals[slot.name] = slot.parse(text)
            elif slot.operator == "in":
                among[slot.name] = self._among(slot.parse, text)
            else:
                ends.setdefault(slot.name, {}).update(_end(slot.operator, slot.parse(text)))
        return Question(equals, tuple(Range(name, **held) for name, held in ends.items()), among, self.sort)

    def _among(self, parse: Callable[[str], Any], text: str) -> tuple[Any, ...]:
        values = tuple(dict.fromkeys(map(parse, text.split(","))))
        if len(values) > self.among_most:
            raise ValueError(text)
        return values


def shape(parameters: Parameters, deciding: frozenset[str]) -> Shape | None:
    """The shape of a URL's parameters; None for one that isn't worth a form.

    Args:
        parameters: decoded.
        deciding: filters whose values decide which index serves.
    """
    found: list[str] = []
    size = 0
    for name, text in parameters:
        found.append(name)
        if name != CURSOR and (text == NULL or name in OWN or name in deciding):
            found.append("=" + text)
            size += len(text)
    return tuple(found) if size <= TEXT_MOST else None


def deciding(of: Surface) -> frozenset[str]:
    """The filters whose values a predicate asks for."""
    names = {term.name for path in of.contract.paths for term in path.predicate}
    return frozenset({*names, *(f"{name.removesuffix(FOLDED)}__iexact" for name in names if name.endswith(FOLDED))})


def slots(of: Surface, parameters: Parameters) -> tuple[Slot, ...] | None:
    """Where the values of parameters belong, which `ask` has read without complaint; None where one of them searches."""
    found = [Slot() if name in OWN else _slot(of, name, text) for name, text in parameters]
    return None if None in found else tuple(slot for slot in found if slot)


def _slot(of: Surface, parameter: str, text: str) -> Slot | None:
    name, operator = split(of, parameter)
    form = wire(of.type_of(name))
    if form is None or operator not in {None, "in", *COMPARISONS, *TEXT}:
        return None
    if operator is None:
        return Slot(name, None, None if text == NULL else form.parse)
    if operator in TEXT:
        name += TEXT[operator]
    if operator == "iexact":
        return Slot(name, None, form.parse)
    return Slot(name, operator, (lambda text: bounded(form.parse(text))) if operator in TEXT else form.parse)


def _end(operator: str, value: Any) -> Mapping[str, Any]:
    if operator in TEXT:
        return {"prefix": value}
    return {"lower" if operator.startswith("g") else "upper": Bound(value, inclusive=operator.endswith("e"))}
