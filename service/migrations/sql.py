"""SQL as text: cut into statements, and statements into clauses, without understanding them."""

import re
from collections.abc import Iterator

NAME = r'((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)'
"""A name, with or without its schema, as a group."""
PART = re.compile(
    r"""
    (?P<comment>--[^\n]*|/\*.*?\*/)
    | (?P<quoted>[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | (?P<tag>\$\w*\$).*?(?P=tag))
    | (?P<mark>[;,()])
    | (?P<word>\w+ | .)
    """,
    re.DOTALL | re.VERBOSE,
)


def statements(sql: str) -> Iterator[str]:
    """The statements, each on one line where it isn't quoted, without comments."""
    yield from _cut(sql, ";", top=False)


def clauses(sql: str) -> Iterator[str]:
    """What commas divide, outside of any brackets."""
    yield from _cut(sql, ",", top=True)


def unquoted(sql: str) -> str:
    """SQL without what stands in quotes."""
    return PART.sub(lambda found: "" if found["quoted"] else found[0], sql)


def _cut(sql: str, at: str, *, top: bool) -> Iterator[str]:
    parts: list[str] = []
    depth = 0
    for found in PART.finditer(sql):
        mark = found["mark"]
        depth += (mark == "(") - (mark == ")")
        if mark == at and not (top and depth):
            yield from _joined(parts)
            parts = []
        elif found["comment"]:
            parts.append(" ")
        else:
            parts.append(" " if found[0].isspace() else found[0])
    yield from _joined(parts)


def _joined(parts: list[str]) -> Iterator[str]:
    """One piece, if there is anything in it; a run of spaces is one."""
    kept = [part for at, part in enumerate(parts) if part != " " or (at and parts[at - 1] != " ")]
    if piece := "".join(kept).strip():
        yield piece
