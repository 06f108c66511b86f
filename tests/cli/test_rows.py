"""Rows as people see them: on a page, on a wide terminal, and on one that has no room for a table."""

import re

import pytest

from service.cli import rows

BOLD = re.compile(r"\x1b\[\d*m")
NAMES = ("table", "index", "serves", "size", "last use", "state")
LONG = "author_id= & [sort=-published_year or published_year] & [published_year__gt|gte|lt|lte=]"
ROWS = [
    ("books", "ix_books_by_author_and_year", f"foreign key author_id\n{LONG}", "96 kB", "-", "[green]valid[/]"),
    ("holds", "ix_holds_of_book", "", "1 kB", "2026-11-22 18:03 UTC", "[red]INVALID[/]"),
]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, which would stand between the words."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


def shown(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None) -> list[str]:
    """The lines that are printed on a terminal of so many columns, or into a file."""
    if columns:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
    capfd.readouterr()
    rows.show(NAMES, ROWS, long="serves", sections=[row[0] for row in ROWS])
    return [BOLD.sub("", line).rstrip() for line in capfd.readouterr().out.splitlines()]


def test_a_page_and_a_wide_terminal_have_a_table(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    page, wide = shown(capfd, monkeypatch, None), shown(capfd, monkeypatch, rows.PAGE_WIDTH)
    assert page == wide
    assert [line.split("  ")[0].strip() for line in page if line.strip()][::2] == ["table", "books", "holds"]
    assert page[1].split() == ["table", "index", "serves", "size", "last", "use", "state"]


@pytest.mark.parametrize("columns", [40, 80, rows.ROOM - 1])
def test_a_narrow_terminal_breaks_no_name(columns: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown(capfd, monkeypatch, columns)
    told = "\n".join(found)
    assert all(len(line) <= columns for line in found)
    assert "ix_books_by_author_and_year" in told
    if columns >= 80:
        assert found[0] == "table, index, size, last use, state; below: serves"
        assert "books  ix_books_by_author_and_year  size 96 kB  valid" in found
        assert "    foreign key author_id" in found
        assert "holds  ix_holds_of_book  size 1 kB  last use 2026-11-22 18:03 UTC  INVALID" in found


def test_nothing_is_printed_of_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (60, rows.PAGE_WIDTH):
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
        capfd.readouterr()
        rows.show(NAMES, [], long="serves")
        assert capfd.readouterr().out == ""
