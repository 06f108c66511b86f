"""An index condition as EXPLAIN prints it, taken apart: which keys are pinned to a value, and which are only bounded.

`((r = 3) AND (ROW(y, id) < ROW(50, 7)) AND (y >= 20))` pins r and bounds y and id, in one comparison, and y again.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.contract.question import FOLDED

LITERAL = re.compile(r"'(?:[^']|'')*'")
OPERATOR = re.compile(r" (= ANY|=|<>|<=|>=|<|>|IS NOT NULL|IS NULL)(?= |$)")
PINNING = {"=", "= ANY", "IS NULL"}
ENDS = {"<", "<=", ">", ">="}


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison of a condition.

    Attributes:
        names: the keys on its left, several for a row comparison; None for an expression that isn't a key.
        pins: whether it leaves the key one value.
        way: `<` or `>` where it is one end of a range; otherwise empty.
    """

    text: str
    names: tuple[str | None, ...]
    pins: bool
    way: str = ""


def parts(condition: str, names: Sequence[str]) -> list[Part]:
    """The comparisons of a condition.

    Args:
        condition: `Index Cond` of a plan; may be empty.
        names: of the index's keys.
    """
    whole = _bare(LITERAL.sub("''", condition))
    return [_part(_bare(text), names) for text in _split(whole, " AND ")] if whole else []


def _part(text: str, names: Sequence[str]) -> Part:
    at = next((found for found in OPERATOR.finditer(text) if not _depth(text[: found.start()])), None)
    left = text[: at.start()] if at else text
    row = _bare(left.removeprefix("ROW")) if left.startswith("ROW(") else None
    keys = [left] if row is None else list(_split(row, ", "))
    pins = row is None and at is not None and at[1] in PINNING
    way = at[1][0] if at and at[1] in ENDS else ""
    return Part(text, tuple(_name(key, names) for key in keys), pins or (at is None and len(keys) == 1), way)


def _name(key: str, names: Sequence[str]) -> str | None:
    """The key behind an expression: a column, or its folded form, which is the one that calls lower()."""
    words = set(re.findall(r"\w+", key.replace('"', "")))
    whole = key.replace('"', "").strip("()")
    folded = (name for name in names if name.endswith(FOLDED) and name.removesuffix(FOLDED) in words and "lower" in words)
    return next((name for name in names if name == whole), None) or next(folded, None)


def _bare(text: str) -> str:
    """A text without the parentheses around all of it."""
    while text.startswith("(") and text.endswith(")") and all(_depth(text[:end]) for end in range(1, len(text))):
        text = text[1:-1]
    return text


def _split(text: str, separator: str) -> Iterator[str]:
    """The pieces between separators that stand in no parentheses."""
    begin = 0
    for found in re.finditer(re.escape(separator), text):
        if not _depth(text[: found.start()]):
            yield text[begin : found.start()]
            begin = found.end()
    yield text[begin:]


def _depth(text: str) -> int:
    return text.count("(") - text.count(")")
