"""SQL without values: for plans that are kept and spans that leave, though a statement may hold what a client wrote."""

import re

VALUES = re.compile(
    r"""
    ("(?:[^"]|"")*"                     # a quoted name stays,
     |\$\d+\b                           # and so does a parameter,
     |\b(?!\d)\w[\w$]*\b(?!')           # and a name, which may end in digits
    )
    |[EeBbXxNn]?'(?:[^']|'')*(?:'|$)    # a text
    |\b\d[\w.]*(?:(?<=[eE])[+-]\d+)?    # a number
    """,
    re.VERBOSE,
)


def without_values(text: str) -> str:
    """SQL, or a condition as EXPLAIN shows it, with a question mark in each value's place."""
    return VALUES.sub(lambda found: found[1] or "?", text)
