"""Where a page begins: the rows after a cursor, as ranges that an index can be entered at.

The customary OR form becomes a filter over everything that was read before; each range made here is an exact index condition.
The ranges come in the order in which their rows follow each other, so that UNION ALL under one LIMIT stops as soon as it has
enough.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.contract.path import Key


@dataclass(frozen=True, slots=True)
class Equal:
    """`(a, b) = (1, 2)`; no value is None."""

    names: tuple[str, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class After:
    """`(a, b) > (1, 2)`, or `<` where the keys descend; no value is None."""

    names: tuple[str, ...]
    values: tuple[Any, ...]
    descending: bool


@dataclass(frozen=True, slots=True)
class Null:
    """`a IS NULL`, or IS NOT NULL."""

    name: str
    negated: bool = False


Condition = Equal | After | Null
Branch = tuple[Condition, ...]


def after(keys: Sequence[Key], values: Mapping[str, Any]) -> list[Branch]:
    """The rows that follow one row in a scan.

    Args:
        keys: as the scan meets them, NULLs counted as smaller than any value; together they tell any two rows apart.
        values: name -> the row's value for each key.

    Returns:
        Ranges in scan order. None of them overlap; together they hold each later row once. Empty after a last row of NULLs.
    """
    if not keys:
        return []
    first = keys[0]
    if values[first.name] is None:
        return _after_null(keys, values)
    run = _run(keys)
    names = tuple(key.name for key in keys[:run])
    row = tuple(values[name] for name in names)
    branches: list[Branch] = [(Equal(names, row), *branch) for branch in after(keys[run:], values)]
    branches.append((After(names, row, first.descending),))
    if first.nullable and first.descending:
        branches.append((Null(first.name),))
    return branches


def _after_null(keys: Sequence[Key], values: Mapping[str, Any]) -> list[Branch]:
    first = keys[0]
    branches: list[Branch] = [(Null(first.name), *branch) for branch in after(keys[1:], values)]
    if not first.descending:
        branches.append((Null(first.name, negated=True),))
    return branches


def _run(keys: Sequence[Key]) -> int:
    """How many keys one row comparison can hold: all in one direction, and NULLs at most in the first."""
    for at, key in enumerate(keys):
        if at and (key.descending != keys[0].descending or key.nullable):
            return at
    return len(keys)
