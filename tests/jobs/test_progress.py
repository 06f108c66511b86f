"""What people see of an import, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

from service.jobs.importing import Progress, Summary
from service.jobs.progress import show, watching

SUMMARY = Summary("books", 10_000, 9000, 900, 77, 23, seconds=2.0, dry_run=False)


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=80, color_system=None), text


@pytest.mark.parametrize("every", [0.0, 3600.0])
def test_lines_where_nobody_watches(every: float) -> None:
    out, text = console(terminal=False)
    with watching(out, every) as tell:
        tell(Progress("reading", 50, 200))
        tell(Progress("merging", 0, 0))
    assert text.getvalue() == ("reading: 25%\nmerging: 100%\n" if every == 0 else "")


def test_a_bar_on_a_terminal() -> None:
    out, text = console(terminal=True)
    with watching(out) as tell:
        tell(Progress("reading", 50, 200))
        tell(Progress("merging", 150, 200))
    assert "reading" in text.getvalue()
    assert "75%" in text.getvalue()


def test_the_summary_adds_up_before_ones_eyes() -> None:
    out, text = console(terminal=False)
    show(SUMMARY, out)
    words = text.getvalue().replace("│", " ").split()
    found = {name: words[words.index(name) + 1] for name in ("read", "inserted", "updated", "unchanged", "rejected")}
    assert found == {"read": "10,000", "inserted": "9,000", "updated": "900", "unchanged": "77", "rejected": "23"}
    assert "5,000 rows/s" in text.getvalue()


def test_a_dry_run_says_so() -> None:
    out, text = console(terminal=False)
    show(Summary("books", 1, 1, 0, 0, 0, seconds=0.0, dry_run=True), out)
    assert "nothing was written" in text.getvalue()
