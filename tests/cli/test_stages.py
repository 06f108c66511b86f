"""Stages as they are shown: lines in a log, bars on a terminal."""

import io
import re

from rich.console import Console

from service.cli.stages import watching


def shown(*, terminal: bool) -> str:
    """What two stages print."""
    told = io.StringIO()
    with watching(Console(file=told, force_terminal=terminal, width=100, color_system=None, highlight=False)) as tell:
        for step in (("books", 0, 2, 0), ("books", 1, 2, 1000), ("books", 2, 2, 1500), ("indexes", 0, 1, 0), ("indexes", 1, 1, 0)):
            tell(*step)
    return told.getvalue()


def test_lines() -> None:
    """One for each stage, when it is over."""
    assert re.fullmatch(r"books: 1,500 rows, \d\.\d s\nindexes: \d\.\d s\n", shown(terminal=False))


def test_bars() -> None:
    """One for each stage, below each other."""
    last = shown(terminal=True).split("books")[-1]
    assert "1,500 rows" in last
    assert "indexes" in last
