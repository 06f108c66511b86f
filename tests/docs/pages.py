"""Pages as a reader follows them: blocks of commands, what each is said to print, and links.

A `bash` block is run; the `json` or `text` block right after it is what it prints. In a shown output `...` stands for anything, and
these may be others at each run: UUIDs, times, dates, cursors, revisions, durations, rates. JSON is compared as values, so it may be
shown indented; a list that ends in "..." may go on.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
OUTPUTS = ("json", "text")
ANYTHING = "..."
VARYING = {
    "<uuid>": r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    "<time>": r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z| UTC)",
    "<date>": r"\b\d{4}-\d\d-\d\d(?=\b|_)",
    "cursor=<cursor>": r"cursor=[\w-]+",
    '"next": "<cursor>"': r'"next":\s*"[\w-]+"',
    "<revision>": r"(?<![0-9a-f])(?=[a-f]*\d)[0-9a-f]{12}(?![0-9a-f])",
    "<rate>": r"[\d,]+ rows/s",
    "<seconds>": r"\d+(\.\d+)? ?s\b",
}


@dataclass(frozen=True)
class Step:
    """One block of commands, and what the page says it prints.

    Attributes:
        line: where the block stands, from 1.
        shown: the output, None where the page shows none.
    """

    page: Path
    line: int
    commands: str
    shown: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def steps(page: Path) -> list[Step]:
    """The blocks of a page that are run, in order."""
    text = page.read_text()
    found = list(FENCE.finditer(text))
    following = [*found[1:], None]
    return [
        Step(page, text.count("\n", 0, block.start()) + 1, block[2], _output(text, block, after))
        for block, after in zip(found, following, strict=True)
        if block[1] == "bash"
    ]


def _output(text: str, block: re.Match[str], after: re.Match[str] | None) -> str | None:
    if after is None or after[1] not in OUTPUTS or text[block.end() : after.start()].strip():
        return None
    return after[2]


def links(page: Path) -> Iterator[str]:
    """The addresses of a page's links, code apart."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    yield from LINK.findall(prose)


def anchors(page: Path) -> set[str]:
    """The names by which links reach a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def bodies(page: Path) -> list[dict[str, Any]]:
    """The JSON documents that a page shows."""
    return [json.loads(block[2]) for block in FENCE.finditer(page.read_text()) if block[1] == "json"]


def prints(shown: str, printed: str) -> bool:
    """Whether what was printed is what a page shows."""
    shown, printed = masked(shown.strip()), masked(printed.strip())
    wanted, got = _parsed(shown), _parsed(printed)
    if wanted is not None and got is not None:
        return _same(wanted, got)
    pattern = ".*".join(map(re.escape, shown.split(ANYTHING)))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def masked(text: str) -> str:
    """Text without what may be other at each run."""
    for name, pattern in VARYING.items():
        text = re.sub(pattern, name, text)
    return text


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _same(wanted: Any, got: Any) -> bool:
    if wanted == ANYTHING:
        return True
    if isinstance(wanted, dict) and isinstance(got, dict):
        return list(wanted) == list(got) and all(_same(wanted[name], got[name]) for name in wanted)
    if isinstance(wanted, list) and isinstance(got, list):
        if wanted[-1:] == [ANYTHING]:
            wanted, got = wanted[:-1], got[: len(wanted) - 1]
        return len(wanted) == len(got) and all(map(_same, wanted, got))
    if isinstance(wanted, str) and isinstance(got, str):
        return re.fullmatch(".*".join(map(re.escape, wanted.split(ANYTHING))), got, re.DOTALL) is not None
    return bool(wanted == got)
