"""How one list of served questions differs from another: what came, what went, and what may now be asked with less."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Questions = Mapping[str, Sequence[str]]
"""Table -> its combinations, as `contract.json` spells them."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        question: as it was, or as it came.
        kind: `widened` where the same may be asked as before, and with something left out as well.
        now: what it became, where it became another.
        whole: whether the whole table came or went.
    """

    table: str
    question: str
    kind: Literal["added", "taken away", "widened"]
    now: str = ""
    whole: bool = False


def changes(before: Questions, now: Questions) -> list[Change]:
    """The differences, table by table; of each what went, then what widened, then what came."""
    return [change for table in sorted({*before, *now}) for change in _of_table(table, before, now)]


def _of_table(table: str, before: Questions, now: Questions) -> Iterator[Change]:
    old, new = set(before.get(table, ())), set(now.get(table, ()))
    gone, come = sorted(old - new), sorted(new - old)
    became = {question: other for question in gone for other in come if _bare(question) == _bare(other)}
    wider = {question: other for question, other in became.items() if _free(question) <= _free(other)}
    whole = table not in now
    yield from (Change(table, one, "taken away", became.get(one, ""), whole) for one in gone if one not in wider)
    yield from (Change(table, one, "widened", other) for one, other in wider.items())
    whole = table not in before
    yield from (Change(table, one, "added", whole=whole) for one in come if one not in became.values())


def _bare(question: str) -> list[str]:
    return [part.strip("[]") for part in question.split(" & ")]


def _free(question: str) -> set[str]:
    """The parts that may be left out."""
    return {part.strip("[]") for part in question.split(" & ") if part.startswith("[")}
