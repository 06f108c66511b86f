"""What a contract serves, as a list for people and for contract.json: every combination of filters and order, path by path.

Combinations are proposed from each index and put to `choose`, so that this list can't say anything else than what is served.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from service.contract.choose import Kind, choose
from service.contract.path import Contract, Path
from service.contract.question import FOLDED, Bound, Question, Range, Sort, Sought, joined, prefix_spelled, spelled

SOME = object()  # stands for any value but NULL
OPERATORS = ("gt", "gte", "lt", "lte")


@dataclass(frozen=True, slots=True)
class Served:
    """One combination that a path serves.

    Attributes:
        kind: a list, at most one row, the rows with one of several values, or what a search finds.
        filters: the equalities that must be given, as parameters: `author_id=`, `returned_at=null`.
        ranges: the parameters of the one range that may be given besides.
        ranged: whether that range must be given.
        sorts: the values of `sort` that may be asked for; none for a lookup.
        default: whether `sort` may be left out.
        equals: the names behind `filters`.
        present: those of them whose value can't be null.
    """

    path: str
    kind: Kind
    filters: tuple[str, ...]
    equals: tuple[str, ...]
    ranges: tuple[str, ...] = ()
    ranged: bool = False
    sorts: tuple[str, ...] = ()
    default: bool = False
    present: frozenset[str] = frozenset()

    def __str__(self) -> str:
        parts = list(self.filters)
        if self.sorts:
            sorts = "sort=" + " or ".join(self.sorts)
            parts.append(f"[{sorts}]" if self.default else sorts)
        if self.ranges:
            ranges = _joined_ranges(self.ranges)
            parts.append(ranges if self.ranged else f"[{ranges}]")
        return " & ".join(parts)


def _joined_ranges(ranges: tuple[str, ...]) -> str:
    """Range parameters in one word: `year__gt|gte|lt|lte=`."""
    name = ranges[0].rpartition("__")[0]
    return f"{name}__{'|'.join(part.rpartition('__')[2].rstrip('=') for part in ranges)}="


@lru_cache(maxsize=256)
def served(contract: Contract) -> tuple[Served, ...]:
    """Every combination, lookups first, then lists, then searches; paths by name.

    Lists that fix every key of their path are left out: they hold one row at most.
    """
    paths = sorted(contract.paths, key=lambda path: path.name)
    searches = [
        Served(path.name, "search", (str(Sought(path.key, path.operator, "")),), ())
        for path in sorted(contract.searches, key=lambda path: path.name)
    ]
    lookups = [one for path in paths for one in _lookups(contract, path)]
    return tuple(lookups + [one for path in paths for one in _lists(contract, path)] + searches)


def ready(left: Contract, contract: Contract, one: Served) -> bool:
    """Whether all that a combination of a contract promises is served by what is left of the contract."""
    return left is contract or all(choose(left, question) for question in _asked(contract, one))


def _asked(contract: Contract, one: Served) -> Iterator[Question]:
    """A question of a combination for each of its orders, without and with its range, and something in the place of each value."""
    if one.kind == "search":
        yield from (Question(searches=(Sought(of.key, of.operator, ""),)) for of in contract.searches if of.name == one.path)
        return
    path = next(path for path in contract.paths if path.name == one.path)
    if one.kind == "many":
        yield Question(_values(path, []), among={path.keys[0].name: (SOME,)})
        return
    equals = _values(path, list(one.equals))
    following = next((key.name for key in path.keys if key.name not in equals), "")
    some = (Range(following, lower=Bound(SOME, inclusive=True)),)
    sorts = [tuple(Sort(part.removeprefix("-"), part.startswith("-")) for part in order.split(",")) for order in one.sorts]
    for sort in [*sorts, *([None] if one.default or not sorts else [])]:
        for ranges in ((), some):
            if one.ranged <= bool(ranges) <= bool(one.ranges):
                yield Question(equals, ranges, sort=sort)


def parameters(name: str, text: bool) -> tuple[str, ...]:
    """The range parameters that a key's name takes."""
    prefix = (prefix_spelled(name),) if text else ()
    return prefix if name.endswith(FOLDED) else (*(f"{name}__{operator}=" for operator in OPERATORS), *prefix)


def _lookups(contract: Contract, path: Path) -> Iterator[Served]:
    names = [key.name for key in path.keys]
    question = Question(equals=_values(path, names))
    if _serves(contract, path, question, "one"):
        yield Served(path.name, "one", _spelled(question), tuple(question.equals), present=path.names)
    question = Question(equals=_values(path, []), among={names[0]: (SOME,)})
    if _serves(contract, path, question, "many"):
        yield Served(path.name, "many", (*_spelled(question), f"{names[0]}__in="), (*question.equals, names[0]))


def _lists(contract: Contract, path: Path) -> Iterator[Served]:
    for lead in range(len(path.keys)):
        equals = _values(path, [key.name for key in path.keys[:lead]])
        first = path.keys[lead]
        if first.name in equals:
            continue  # the predicate fixes this key: a longer lead serves it
        some = Range(first.name, lower=Bound(SOME, inclusive=True))
        for ranges in ((), (some,)):
            sorts = [sort for sort in _orders(contract, path, lead) if _serves(contract, path, Question(equals, ranges, sort=sort))]
            if sorts:
                default = _serves(contract, path, Question(equals, ranges))
                texts = tuple(joined(sort) for sort in sorts)
                yield Served(
                    path.name,
                    "list",
                    _spelled(Question(equals)),
                    tuple(equals),
                    parameters(first.name, first.text),
                    bool(ranges),
                    texts,
                    default,
                    path.present,
                )
                break


def _values(path: Path, names: list[str]) -> dict[str, object]:
    """Values for a key's names that also imply the predicate."""
    fixed = {term.name: term.value for term in path.predicate if not term.negated}
    return {name: fixed.get(name, SOME) for name in (*names, *sorted(fixed.keys() - set(names)))}


def _spelled(question: Question) -> tuple[str, ...]:
    return tuple(spelled(name) + literal(value) for name, value in question.equals.items())


def literal(value: object) -> str:
    """A value as a parameter spells it."""
    return "" if value is SOME else "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _serves(contract: Contract, path: Path, question: Question, kind: Kind = "list") -> bool:
    alone = Contract(contract.table, contract.primary, (path,), contract.default_order)
    choice = choose(alone, question)
    return choice is not None and choice.kind == kind


def _orders(contract: Contract, path: Path, lead: int) -> Iterator[tuple[Sort, ...]]:
    """The path's remaining order and its reverse, as short as `sort` may spell them."""
    forward = tuple(Sort(key.name, key.descending) for key in path.keys[lead:])
    for order in (forward, tuple(Sort(sort.name, not sort.descending) for sort in forward)):
        yield shortened(contract, order)


def shortened(contract: Contract, order: tuple[Sort, ...]) -> tuple[Sort, ...]:
    """An order without the primary key at its end, where completing it would append the same."""
    length = len(contract.primary)
    short, tail = order[:-length], order[-length:]
    appended = tuple(Sort(name, short[-1].descending) for name in contract.primary) if short else ()
    return short if tail == appended else order
