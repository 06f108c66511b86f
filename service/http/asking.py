"""A URL becomes a question: typed filters, an order, and what is wanted of the rows. No connection is taken here.

Everything that can't be understood is refused at once, each parameter with what it should have been.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl

import orjson
from sqlalchemy import JSON

from service.contract.question import FOLDED, Bound, Question, Range, Sort, Sought, joined
from service.contract.search import described, pattern
from service.db.fitting import misfit
from service.db.surface import Surface
from service.db.wire import Wire, sound, wire
from service.errors import InvalidQuestion
from service.settings import Settings

Parameters = Sequence[tuple[str, str]]
"""The parameters of a URL, decoded."""
Count = Literal["none", "estimated", "capped"]
COMPARISONS = ("gt", "gte", "lt", "lte")
TEXT = {"startswith": "", "iexact": FOLDED, "istartswith": FOLDED}
SEARCHES = {"icontains", "has"}
LAST_CHARACTER = "\U0010ffff"
OWN = ("sort", "limit", "cursor", "fields", "include", "count")


@dataclass(slots=True)
class Asking:
    """What a list route was asked.

    Attributes:
        fields: the members wanted; None for all.
        include: relations to embed.
        cursor: where the page begins, still sealed.
    """

    question: Question
    limit: int
    fields: tuple[str, ...] | None = None
    include: tuple[str, ...] = ()
    count: Count = "none"
    cursor: str | None = None


@dataclass(slots=True)
class _Reader:
    """Collects what the parameters say, and what is wrong with them."""

    of: Surface
    settings: Settings
    equals: dict[str, Any] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)
    among: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    searches: list[Sought] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)

    def filter(self, parameter: str, text: str) -> None:
        """Read one filter."""
        name, operator = split(self.of, parameter)
        if operator in SEARCHES and name in self.of.expressions and not name.endswith(FOLDED):
            self.searches.append(self._sought(name, operator, text))
            return
        form = self._wire(name, operator)
        if operator in {"startswith", "istartswith"}:
            self._range(name + TEXT[operator], prefix=bounded(form.parse(text)))
        elif operator == "iexact":
            self.equals[name + FOLDED] = form.parse(text)
        elif operator == "in":
            self.among[name] = self._values(form, text)
        elif operator:
            end = Bound(form.parse(text), inclusive=operator.endswith("e"))
            self._range(name, **{"lower" if operator.startswith("g") else "upper": end})
        else:
            self.equals[name] = None if text == "null" else form.parse(text)

    def _sought(self, name: str, operator: str, text: str) -> Sought:
        if operator == "icontains":
            if name + FOLDED not in self.of.expressions:
                raise ValueError(f"{name} isn't text, so it has no __icontains")
            return Sought(name + FOLDED, operator, pattern(sound(text)))
        kind = self.of.type_of(name)
        wrong = misfit(kind, json.loads(described(text))) if isinstance(kind, JSON) else "it isn't JSON, so it has no __has"
        if wrong:
            raise ValueError(wrong)
        return Sought(name, operator, text)

    def _wire(self, name: str, operator: str | None) -> Wire:
        known = name in self.of.expressions and not name.endswith(FOLDED)
        form = wire(self.of.type_of(name)) if known else None
        if not known or operator not in {None, "in", *COMPARISONS, *TEXT}:
            raise ValueError(_unknown(self.of, name if known else None))
        if form is None:
            searched = f" but {name}__has=" if isinstance(self.of.type_of(name), JSON) else ""
            raise ValueError(f"this column's values can't be written in a URL, so no filter takes it{searched}")
        if operator in TEXT and name + FOLDED not in self.of.expressions:
            raise ValueError(f"{name} isn't text, so it has no __{operator}")
        return form

    def _values(self, form: Wire, text: str) -> tuple[Any, ...]:
        values = tuple(dict.fromkeys(form.parse(part) for part in text.split(",")))
        if len(values) > self.settings.among_most:
            raise ValueError(f"at most {self.settings.among_most} values can be listed, here are {len(values)}")
        return values

    def _range(self, name: str, **ends: Any) -> None:
        before = self.ranges.get(name, Range(name))
        if before.prefix is not None or (self.ranges.get(name) and "prefix" in ends):
            raise ValueError(f"{name} has a prefix and another range; ask for one of them")
        if any(getattr(before, end) is not None for end in ends):
            raise ValueError(f"{name} has two {'lower' if 'lower' in ends else 'upper'} ends; ask for one")
        held = {"lower": before.lower, "upper": before.upper, "prefix": before.prefix}
        self.ranges[name] = Range(name, **(held | ends))

    def order(self, text: str) -> tuple[Sort, ...]:
        """Read `sort`."""
        order = tuple(Sort(part.removeprefix("-"), part.startswith("-")) for part in text.split(","))
        for sort in order:
            if sort.name not in self.of.expressions or wire(self.of.type_of(sort.name)) is None:
                wrong = f"{sort.name} is no sort key" if sort.name else "it names no key"
                raise ValueError(f"{wrong}. Keys are {_listed(_sortable(self.of))}, with - before them to descend")
        if len({sort.name for sort in order}) < len(order):
            raise ValueError("a key stands there twice")
        return order


def ask(of: Surface, parameters: Parameters, settings: Settings, members: Iterable[str], relations: Iterable[str]) -> Asking:
    """Read a list route's parameters.

    Args:
        of: what clients may name.
        parameters: as they stand in the URL, decoded.
        settings: the limits.
        members: what `fields` may name.
        relations: what `include` may name.

    Raises:
        InvalidQuestion: with all parameters that can't be understood, as `errors`.
    """
    reader = _Reader(of, settings)
    own: dict[str, Any] = {}
    given = list(parameters)
    counts = Counter(parameter for parameter, _ in given)
    reader.errors += [{"parameter": name, "message": "it is given twice; give it once"} for name in counts if counts[name] > 1]
    for parameter, text in given:
        try:
            if parameter in OWN:
                own[parameter] = _own(reader, parameter, text, members, relations)
            else:
                reader.filter(parameter, text)
        except ValueError as error:
            reader.errors.append({"parameter": parameter, "message": str(error)})
    if reader.errors:
        raise InvalidQuestion(
            "; ".join(f"{wrong['parameter']}: {wrong['message']}" for wrong in reader.errors), errors=reader.errors
        )
    ranges, searches = tuple(reader.ranges.values()), tuple(reader.searches)
    question = Question(reader.equals, ranges, reader.among, own.pop("sort", None), searches)
    return Asking(question, own.pop("limit", settings.page_size), **own)


def ask_members(
    parameters: Iterable[tuple[str, str]], members: Iterable[str], relations: Iterable[str]
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Read what a route for one row takes: `fields` and `include`.

    Raises:
        InvalidQuestion: it was given something else.
    """
    known = {"fields": (members, "field"), "include": (relations, "relation")}
    found: dict[str, tuple[str, ...]] = {}
    for parameter, text in parameters:
        if parameter not in known or parameter in found:
            raise invalid(parameter, "this route takes fields= and include=, each once")
        try:
            found[parameter] = _named(text, *known[parameter])
        except ValueError as error:
            raise invalid(parameter, str(error)) from None
    return found.get("fields"), found.get("include", ())


def parameters_of(query: bytes) -> list[tuple[str, str]]:
    """The parameters of a URL's query, decoded.

    Raises:
        InvalidQuestion: they aren't UTF-8. To read something else in their place would answer another question.
    """
    if b"%" not in query and b"+" not in query and query.isascii():  # nothing to decode: five times as quick
        pairs = (part.partition("=") for part in query.decode("ascii").split("&") if part)
        return [(name, value) for name, _, value in pairs]
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidQuestion("The query isn't UTF-8. Encode the parameters as UTF-8, then percent-encode them.") from None


def split(of: Surface, parameter: str) -> tuple[str, str | None]:
    """A filter's name and operator; None where it has none."""
    if parameter in of.expressions or "__" not in parameter:
        return parameter, None
    name, _, operator = parameter.rpartition("__")
    return name, operator


def invalid(parameter: str, message: str) -> InvalidQuestion:
    """The problem of one parameter that can't be understood."""
    return InvalidQuestion(f"{parameter}: {message}", errors=[{"parameter": parameter, "message": message}])


def fingerprint(of: Surface, question: Question, order: Iterable[Sort]) -> bytes:
    """What a cursor is bound to: the table, the filters with their values, and the completed order."""
    ranges = {
        found.name: [_end(of, found.name, found.lower), _end(of, found.name, found.upper), found.prefix]
        for found in question.ranges
    }
    equals = {name: of.dumped(name, value) for name, value in question.equals.items()}
    searches = [[str(sought), sought.value] for sought in question.searches]
    asked = [of.contract.table, equals, ranges, joined(tuple(order)), *([searches] if searches else [])]
    return orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)


def _end(of: Surface, name: str, bound: Bound | None) -> Any:
    return None if bound is None else [of.dumped(name, bound.value), bound.inclusive]


def _own(reader: _Reader, parameter: str, text: str, members: Iterable[str], relations: Iterable[str]) -> Any:
    if parameter == "sort":
        return reader.order(text)
    if parameter == "limit":
        return _limit(text, reader.settings.page_size_most)
    if parameter == "count":
        return _one_of(text, get_args(Count))
    if parameter == "fields":
        return _named(text, members, "field")
    return _named(text, relations, "relation") if parameter == "include" else text


def _limit(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise ValueError(f"expected a number from 1 to {most}")
    return int(text)


def _named(text: str, known: Iterable[str], called: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"{_listed(unknown)} is no {called}. There are {_listed(known) or 'none'}")
    return names


def _one_of(text: str, known: Sequence[str]) -> str:
    if text not in known:
        raise ValueError(f"expected one of {_listed(known)}")
    return text


def _unknown(of: Surface, name: str | None) -> str:
    if name is not None:
        text = (*TEXT, "icontains") if name + FOLDED in of.expressions else ()
        operators = ("has",) if isinstance(of.type_of(name), JSON) else (*COMPARISONS, *text, "in")
        return f"unknown operator. After {name} there may stand {_listed(f'__{operator}' for operator in operators)}"
    columns = [name for name in of.expressions if not name.endswith(FOLDED) and wire(of.type_of(name)) is not None]
    return f"unknown parameter. Filters are {_listed(columns)}; besides them {_listed(OWN)}"


def _sortable(of: Surface) -> list[str]:
    """Columns, and the named expressions that an index has."""
    indexed = {name for path in of.contract.paths for name in path.names}
    keys = [name for name in of.expressions if name in indexed or not name.endswith(FOLDED)]
    return [name for name in keys if wire(of.type_of(name)) is not None]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name or "(empty)" for name in names)


def bounded(prefix: str) -> str:
    """A prefix that some text comes after."""
    if not prefix:
        raise ValueError("a prefix needs at least one character")
    if prefix.endswith(LAST_CHARACTER):
        raise ValueError("a prefix can't end in U+10FFFF: no character comes after it")
    return prefix
