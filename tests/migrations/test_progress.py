"""How far a build is, in words, in the log and on a terminal."""

import io
import logging

import pytest
from rich.console import Console

from service.migrations.progress import Build, shown

SCANNING = Build("books", "ix", "building index: scanning table", 1_200, 10_000, 0, 0, 0, 0, 0)
LOADING = Build("books", "ix", "building index: loading tuples in tree", 10_000, 10_000, 250, 1_000, 0, 0, 0)
WAITING = Build("books", "ix", "waiting for old snapshots", 10_000, 10_000, 1_000, 1_000, 1, 3, 77)
BEGINNING = Build("books", None, "initializing", 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (SCANNING, "ix of books: building index: scanning table, 1,200 of 10,000 blocks (12%)"),
        (LOADING, "ix of books: building index: loading tuples in tree, 250 of 1,000 rows (25%)"),
        (WAITING, "ix of books: waiting for old snapshots, 1 of 3 transactions (33%), now for process 77"),
        (BEGINNING, "an index of books: initializing"),
    ],
)
def test_in_words(build: Build, told: str) -> None:
    assert str(build) == told


def test_in_the_log_a_line_at_once_and_then_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), shown(Console(file=io.StringIO())) as tell:
        tell(None)
        for _ in range(3):
            tell(SCANNING)
    assert caplog.messages == [f"building {SCANNING}"]


def test_on_a_terminal_a_bar_that_goes_when_it_is_done() -> None:
    screen = io.StringIO()
    with shown(Console(file=screen, force_terminal=True, width=120)) as tell:
        tell(None)
        assert screen.getvalue() == ""
        tell(SCANNING)
        tell(LOADING)
        tell(None)
        drawn = screen.getvalue()
        tell(None)
        assert screen.getvalue() == drawn
    assert "250 of 1,000 rows" in drawn
    assert drawn.rstrip().endswith("\x1b[2K")  # the line is erased


def test_nothing_is_shown_where_nothing_is_built(caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    with caplog.at_level(logging.INFO), shown(Console(file=screen, force_terminal=True)) as tell:
        tell(None)
    assert screen.getvalue() == ""
    assert caplog.messages == []
