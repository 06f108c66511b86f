"""What a question's answer is, and what an index holds, said in plain Python and without looking at the code under test."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.contract.keyset import After, Branch, Condition, Equal, Null
from service.contract.path import Contract, Key, Path, Term
from service.contract.question import Question, Range, Sort

Row = Mapping[str, Any]


def whole_order(contract: Contract, question: Question) -> list[Sort]:
    """The order asked for, or the default one, and then the primary key in the direction of its last key."""
    asked = list(contract.default_order if question.sort is None else question.sort)
    descending = asked[-1].descending if asked else False
    return asked + [Sort(name, descending) for name in contract.primary]


def answer(contract: Contract, question: Question, rows: Iterable[Row]) -> list[Row]:
    """The rows that a question asks for, in its order; those of `__in` by the primary key."""
    found = [row for row in rows if asked_for(question, row)]
    order = [Sort(name) for name in contract.primary] if question.among else whole_order(contract, question)
    for sort in reversed(order):
        found.sort(key=lambda row, name=sort.name: _small_null(row[name]), reverse=sort.descending)  # type: ignore[misc]
    return found


def asked_for(question: Question, row: Row) -> bool:
    """Whether a row satisfies all filters."""
    return (
        all(row[name] == value for name, value in question.equals.items())
        and all(within(found, row) for found in question.ranges)
        and all(row[name] is not None and row[name] in values for name, values in question.among.items())
    )


def within(asked: Range, row: Row) -> bool:
    """Whether a row's value lies in a range."""
    value, low, high = row[asked.name], asked.lower, asked.upper
    if value is None:
        return False
    above = low is None or value > low.value or (low.inclusive and value == low.value)
    return above and (high is None or value < high.value or (high.inclusive and value == high.value))


def holds(path: Path, row: Row) -> bool:
    """Whether an index has a row: its predicate is true of it."""
    return all(_true(term, row) for term in path.predicate)


def _true(term: Term, row: Row) -> bool:
    return (row[term.name] == term.value) is not term.negated


def scan(keys: Sequence[Key], rows: Iterable[Row]) -> list[Row]:
    """Rows as a B-tree with these keys keeps them; rows with equal keys stay as they came."""
    found = list(rows)
    for key in reversed(keys):
        found.sort(key=lambda row, key=key: _placed(key, row[key.name]))  # type: ignore[misc]
    return found


def _placed(key: Key, value: int | None) -> tuple[int, int]:
    if value is None:
        return (-1 if key.nulls_first else 1), 0
    return 0, -value if key.descending else value


def _small_null(value: int | None) -> tuple[bool, int]:
    return value is not None, value or 0


def enforced(paths: Iterable[Path], rows: Iterable[Row]) -> list[Row]:
    """The rows that unique indexes would have let in, one after the other."""
    kept: list[Row] = []
    for row in rows:
        if not any(path.unique and holds(path, row) and _collides(path, row, kept) for path in paths):
            kept.append(row)
    return kept


def _collides(path: Path, row: Row, kept: list[Row]) -> bool:
    keys = [row[key.name] for key in path.keys]
    if None in keys and not path.nulls_equal:
        return False
    return any(holds(path, other) and keys == [other[key.name] for key in path.keys] for other in kept)


def in_branch(branch: Branch, row: Row) -> bool:
    """Whether SQL's WHERE would let a row through: all conditions true, not merely unknown."""
    return all(truth(condition, row) is True for condition in branch)


def truth(condition: Condition, row: Row) -> bool | None:
    """A condition by SQL's three-valued logic; None is unknown."""
    match condition:
        case Null(name, negated):
            return (row[name] is None) is not negated
        case Equal(names, values):
            pairs = [None if row[name] is None else row[name] == value for name, value in zip(names, values, strict=True)]
            return False if False in pairs else None if None in pairs else True
        case After(names, values, descending):
            return _row_comparison([row[name] for name in names], values, descending)


def _row_comparison(left: Sequence[Any], right: Sequence[Any], descending: bool) -> bool | None:
    """Row comparison: the first pair that isn't equal decides, and an unknown pair makes the whole unknown."""
    for mine, other in zip(left, right, strict=True):
        if mine is None or other is None:
            return None
        if mine != other:
            return bool(mine < other if descending else mine > other)
    return False
