"""Indexes that do what another does: of the same definition, or the beginning of a longer one; and what keeps them all the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from service.contract.path import Contract
from service.contract.probing import lost
from service.contract.shape import shape_of
from service.plans.inventory import Entry, Part

DESCENDING, NULLS_FIRST = 1, 2
SHOWN = 2


@dataclass(frozen=True)
class Pair:
    """An index, and one that has all its keys.

    Attributes:
        same: whether the other has no more keys than it.
        kept: why it is needed besides; empty where it isn't.
    """

    entry: Entry
    by: Entry
    same: bool
    kept: tuple[str, ...]


def pairs(entries: Sequence[Entry], contracts: dict[str, Contract]) -> list[Pair]:
    """Every index whose keys another one of its table begins with, those that nothing keeps first.

    Args:
        entries: indexes that stand.
        contracts: table -> every path of it.
    """
    found = [pair for one, other in permutations(entries, 2) if (pair := _pair(one, other, contracts.get(one.table)))]
    return sorted(found, key=lambda pair: (bool(pair.kept), pair.entry.table, pair.entry.name, pair.by.name))


def _pair(one: Entry, other: Entry, contract: Contract | None) -> Pair | None:
    count = len(one.keys)
    names = [part.text for part in one.keys]
    if one.table != other.table or one.method != other.method or names != [part.text for part in other.keys[:count]]:
        return None
    same = count == len(other.keys)
    if (one.method != "btree" and not same) or (same and _is_kept(one, other)):
        return None
    return Pair(one, other, same, tuple(_reasons(one, other, contract)))


def _is_kept(one: Entry, other: Entry) -> bool:
    """Of two with the same keys the one that is spoken of as the other's double goes second: outside, younger, by name."""
    rank = (_demands(one), bool(one.path), other.name)
    return rank > (_demands(other), bool(other.path), one.name)


def _demands(entry: Entry) -> tuple[bool, int]:
    return bool(entry.needs), len(entry.include)


def _reasons(one: Entry, other: Entry, contract: Contract | None) -> Iterator[str]:
    if one.unique and not (other.unique and len(one.keys) == len(other.keys) and one.predicate == other.predicate):
        yield "it is unique: a rule, not only a way"
    if one.predicate != other.predicate:
        yield f"it holds {_rows(one)}, the other {_rows(other)}"
    if carried := [name for name in one.include if name not in {*other.include, *(part.text for part in other.keys)}]:
        yield f"it carries {', '.join(carried)}"
    yield from _sorted_otherwise(one.keys, other.keys[: len(one.keys)])
    path = next((path for path in contract.paths if path.name == one.path), None) if contract else None
    if contract and path and (questions := lost(contract, path)):
        told = list(dict.fromkeys(str(shape_of(contract, question)) for question in questions))
        more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
        yield f"it alone serves {', '.join(told[:SHOWN])}{more}"


def _rows(entry: Entry) -> str:
    return f"only rows with {entry.predicate}" if entry.predicate else "all rows"


def _sorted_otherwise(mine: Sequence[Part], others: Sequence[Part]) -> Iterator[str]:
    """An order is as good backward, if all of it is."""
    if any(one.class_ != other.class_ for one, other in zip(mine, others, strict=True)):
        yield "it has another operator class"
    if any(one.collation != other.collation for one, other in zip(mine, others, strict=True)):
        yield "it has another collation"
    options = [(one.option, other.option) for one, other in zip(mine, others, strict=True)]
    backward = all(one == other ^ DESCENDING ^ NULLS_FIRST for one, other in options)
    if not backward and any(one != other for one, other in options):
        yield "its keys go in other directions, or have their NULLs elsewhere"
