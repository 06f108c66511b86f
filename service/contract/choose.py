"""Which path serves a question? Pure: no connection is taken before this has said yes.

The question alone fixes the answer: its order is completed here from the question, before any path is looked at. Paths only
decide whether it is served.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from service.contract.path import Contract, Key, Path, Term
from service.contract.question import FOLDED, Question, Sort
from service.contract.search import alone, serves

Kind = Literal["list", "one", "many", "search"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A path, and how to walk it.

    Attributes:
        kind: a list in an order, at most one row, all rows with one of several values of a unique key, or what a search finds.
        keys: all keys of the path, as the scan meets them: reversed when it goes backward; a search's path has none.
        lead: how many of them the question's equalities fix.
        order: the question's completed order without the fixed keys: what a cursor's values stand for.
    """

    path: Path
    kind: Kind
    keys: tuple[Key, ...]
    lead: int
    order: tuple[Sort, ...] = ()

    @property
    def walked(self) -> tuple[Key, ...]:
        """The keys along which the rows come."""
        return self.keys[self.lead :]


def choose(contract: Contract, question: Question) -> Choice | None:
    """The path for a question, or None where none serves all of it. Of several: most equalities, then the name."""
    if question.searches:
        return _search(contract, question)
    order = completed(contract, question)
    fits = [choice for path in contract.paths for choice in _fits(contract, path, question, order)]
    return min(fits, key=lambda choice: (-choice.lead, choice.path.name), default=None)


def _search(contract: Contract, question: Question) -> Choice | None:
    if not alone(question):
        return None
    found = sorted(path.name for path in contract.searches if serves(path, question.searches[0]))
    order = tuple(map(Sort, contract.primary))
    return Choice(Path(found[0], ()), "search", (), 0, order) if found else None


def completed(contract: Contract, question: Question) -> tuple[Sort, ...]:
    """The question's whole order: down to the primary key, without what its equalities fix."""
    if question.equals.keys() >= set(contract.primary):
        return ()  # at most one row
    default = () if question.searches else contract.default_order
    asked = default if question.sort is None else question.sort
    order: list[Sort] = []
    for sort in (*asked, *(Sort(name, bool(asked) and asked[-1].descending) for name in contract.primary)):
        seen = {key.name for key in order}
        if seen.issuperset(contract.primary):
            break  # no two rows are equal so far: nothing after it counts
        if sort.name not in seen:
            order.append(sort)
    return tuple(sort for sort in order if sort.name not in question.equals)


def implied(term: Term, question: Question) -> bool:
    """Whether each row that a question asks for satisfies a term of a predicate."""
    asked = term.name in question.equals
    if term.present:
        named = {*question.among, *(found.name for found in question.ranges)}  # NULL is in none of them
        return term.name in named or (asked and question.equals[term.name] is not None)
    return asked and not term.negated and question.equals[term.name] == term.value


def _fits(contract: Contract, path: Path, question: Question, order: tuple[Sort, ...]) -> Iterator[Choice]:
    if not all(implied(term, question) for term in path.predicate):
        return
    lead = _lead(path, question)
    if not path.names.union(path.fixed).issuperset(question.equals):
        return
    if question.among:
        if _many(path, question):
            yield Choice(path, "many", path.keys, 0)
    elif _one(path, question):
        yield Choice(path, "one", path.keys, lead)
    elif contract.total(path) and _ranged(path, question, lead):
        keys = _in_order(contract, path, question, lead, order)
        if keys:
            yield Choice(path, "list", keys, lead, order)


def _lead(path: Path, question: Question) -> int:
    """How many of the path's first keys the question fixes."""
    return next((at for at, key in enumerate(path.keys) if key.name not in question.equals), len(path.keys))


def _one(path: Path, question: Question) -> bool:
    return path.unique and not question.ranges and all(question.equals.get(name) is not None for name in path.names)


def _many(path: Path, question: Question) -> bool:
    return (
        path.unique
        and len(path.keys) == 1
        and path.names == set(question.among)
        and not path.keys[0].name.endswith(FOLDED)
        and path.fixed.issuperset(question.equals)
        and not question.ranges
        and question.sort is None
    )


def _ranged(path: Path, question: Question, lead: int) -> bool:
    """Whether all equalities are among the leading keys, and the range, if any, is on the next one."""
    leading = {key.name for key in path.keys[:lead]}
    if not leading.union(path.fixed).issuperset(question.equals):
        return False
    if not question.ranges:
        return True
    return len(question.ranges) == 1 and lead < len(path.keys) and path.keys[lead].name == question.ranges[0].name


def _in_order(contract: Contract, path: Path, question: Question, lead: int, order: tuple[Sort, ...]) -> tuple[Key, ...] | None:
    """The path's keys in the direction whose remaining ones give the order, if either does."""
    present = path.present.union(found.name for found in question.ranges)
    keys = tuple(Key(k.name, k.descending, k.nulls_first, k.nullable and k.name not in present, k.text) for k in path.keys)
    wanted, beyond = order[: len(keys) - lead], order[len(keys) - lead :]
    if beyond and not (path.strict and all(sort.name in contract.primary for sort in beyond)):
        return None  # only where the keys tell rows apart already does the primary key at the end not count
    for scanned in (keys, tuple(key.reversed() for key in keys)):
        walked = scanned[lead:]
        if len(walked) == len(wanted) and all(key.gives(sort) for key, sort in zip(walked, wanted, strict=True)):
            return scanned
    return None
