"""The questions that a path serves by itself, one of each shape: what would be lost with it, or kept if another took its place."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from service.contract.choose import choose
from service.contract.path import Contract, Path
from service.contract.question import Bound, Question, Range, Sort
from service.contract.served import SOME


def lost(contract: Contract, path: Path, instead: Path | None = None) -> list[Question]:
    """The questions that nothing would serve any more without a path, or with another in its place."""
    others = tuple(other for other in contract.paths if other.name != path.name)
    changed = replace(contract, paths=(*others, instead) if instead else others)
    return [question for question in probes(contract, path) if choose(changed, question) is None]


def probes(contract: Contract, path: Path) -> Iterator[Question]:
    """Every question that a path serves by itself, as far as they differ in more than values."""
    alone = replace(contract, paths=(path,), searches=())
    return (question for question in _tried(path) if choose(alone, question))


def _tried(path: Path) -> Iterator[Question]:
    fixed = {term.name: term.value for term in path.predicate if not term.negated}
    for lead in range(len(path.keys) + 1):
        walked = path.keys[lead:]
        ranges = [(), (Range(walked[0].name, lower=Bound(SOME, inclusive=True)),)] if walked else [()]
        forward = tuple(Sort(key.name, key.descending) for key in walked)
        orders = (None, forward, tuple(Sort(sort.name, not sort.descending) for sort in forward))
        for equals in _equalities(path, lead, fixed):
            for over in ranges:
                yield from (Question(equals, over, sort=order) for order in orders)
    if len(path.keys) == 1:
        yield Question(fixed, among={path.keys[0].name: (SOME,)})


def _equalities(path: Path, lead: int, fixed: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Values for the leading keys; each of them also NULL, where it may be."""
    some = {key.name: SOME for key in path.keys[:lead]} | fixed
    yield some
    for key in path.keys[:lead]:
        if key.nullable and key.name not in fixed:
            yield some | {key.name: None}
