"""Questions with values, and places where their pages begin, for each combination that a table serves.

Of every name there are two values: one that many rows have, and one that few have. What is NULL by chance is asked for by name.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from service.contract.choose import Choice, choose
from service.contract.path import Key, Path
from service.contract.question import FOLDED, Bound, Question, Range, Sort, Sought
from service.contract.search import LETTERS, PATTERN_MOST, SearchPath, sought
from service.contract.served import Served
from service.db import Surface

Samples = Mapping[str, tuple[Any, Any]]
"""Name -> a value that many rows have, and one that few have; neither is None."""
Last = Mapping[str, Any]
"""Name -> value of the row that a page follows."""


def questions(of: Surface, one: Served, samples: Samples) -> Iterator[Question]:
    """Every question of a combination: each value common, rare and NULL, each range, each order.

    Raises:
        KeyError: there is no value for a name; see `lacking`.
    """
    if one.kind == "search":
        yield from _searches(of, one, samples)
        return
    path = _path(of, one)
    for equals in _equalities(of, path, one, samples):
        if one.kind == "many":
            name = one.equals[-1]
            yield Question({other: equals[other] for other in one.equals[:-1]}, among={name: samples[name]})
        elif one.kind == "one":
            yield Question(equals)
        else:
            for ranges in _ranges(path, one, samples):
                yield from (Question(equals, ranges, sort=sort) for sort in _sorts(one, named=bool(ranges)))


def lacking(of: Surface, one: Served, samples: Samples) -> list[str]:
    """The names that a combination asks for and no value is known of: it can't be put as a question."""
    if one.kind == "search":
        return [] if any(_searches(of, one, samples)) else [next(p.key for p in of.contract.searches if p.name == one.path)]
    path = _path(of, one)
    order = {of.primary, *path.names} if one.kind == "list" else set()
    return sorted((order | set(one.equals)) - path.fixed - samples.keys())


def chosen(of: Surface, question: Question) -> Choice:
    """The path of a question that is served.

    Raises:
        LookupError: none serves it.
    """
    choice = choose(of.contract, question)
    if choice is None:
        raise LookupError(f"{question} is listed as served and isn't")
    return choice


def lasts(choice: Choice, samples: Samples) -> Iterator[Last | None]:
    """Where a page may begin: at the first row, after a common row, after a rare one, and after one whose key is NULL."""
    yield None
    if choice.kind in {"list", "search"} and choice.order:
        for at in (0, 1):
            yield {sort.name: samples[sort.name][at] for sort in choice.order}
        for key in choice.walked:
            if key.nullable:
                yield {sort.name: None if sort.name == key.name else samples[sort.name][0] for sort in choice.order}


def _path(of: Surface, one: Served) -> Path:
    return next(path for path in of.contract.paths if path.name == one.path)


def _searches(of: Surface, one: Served, samples: Samples) -> Iterator[Question]:
    """A search for what many rows have a part of, and one for all of what a single row has."""
    path = next(path for path in of.contract.searches if path.name == one.path)
    found = samples.get(path.key)
    for text in [] if found is None else [_part(found[0]), *(_whole(value) for value in found)]:
        if (seeking := _sought(path, text)) is not None:
            yield Question(searches=(seeking,))


def _part(value: Any) -> str:
    """The shortest word of a text, which most others have too; or the first member of an object."""
    if not isinstance(value, str):
        return json.dumps(dict(list(value.items())[:1]))
    words = ["".join(run) for letters, run in groupby(value, str.isalnum) if letters]
    return min((word for word in words if len(word) >= LETTERS), key=len, default="")


def _whole(value: Any) -> str:
    return value[:PATTERN_MOST] if isinstance(value, str) else json.dumps(value)


def _sought(path: SearchPath, text: str) -> Sought | None:
    """What is looked for; None where the index has nothing to look for."""
    try:
        return sought(path, text)
    except ValueError:
        return None


def _equalities(of: Surface, path: Path, one: Served, samples: Samples) -> Iterator[dict[str, Any]]:
    fixed = {term.name: term.value for term in path.predicate if not term.negated}
    for at in (0, 1):
        yield {name: fixed[name] if name in fixed else samples[name][at] for name in one.equals}
    if one.kind == "list":
        for name in one.equals:
            if name in of.contract.nullable and name not in one.present and name not in fixed:
                others = {other: fixed[other] if other in fixed else samples[other][0] for other in one.equals if other != name}
                yield {other: others.get(other) for other in one.equals}


def _ranges(path: Path, one: Served, samples: Samples) -> Iterator[tuple[Range, ...]]:
    if not one.ranged:
        yield ()
    if one.ranges:
        key = next(key for key in path.keys if key.name not in one.equals)
        yield from ((found,) for found in _ranges_of(key, samples[key.name]))


def _ranges_of(key: Key, values: tuple[Any, Any]) -> Iterator[Range]:
    if not key.name.endswith(FOLDED):
        low, high = sorted(values)
        yield Range(key.name, lower=Bound(values[0], inclusive=True))
        yield Range(key.name, upper=Bound(values[1], inclusive=False))
        yield Range(key.name, Bound(low, inclusive=False), Bound(high, inclusive=True))
    prefix = next((value[:2] for value in values if value), None) if key.text else None
    if prefix:
        yield Range(key.name, prefix=prefix)


def _sorts(one: Served, *, named: bool) -> Iterator[tuple[Sort, ...] | None]:
    """The orders, by name; the default one also without."""
    if one.default and not named:
        yield None
    for spelled in one.sorts:
        yield tuple(Sort(part.removeprefix("-"), part.startswith("-")) for part in spelled.split(","))
