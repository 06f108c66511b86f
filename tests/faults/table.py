"""The table of faults, made from the reports of a run: on a terminal, and in a page of the docs."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

from tests.faults.figures import FAULT, FIGURE, LACKING, Fault

WIDTH = 160
TITLES = ("fault", "what is done", "what must hold", "measured", "held")
HELD, BROKEN = "yes", "NO"
BEGIN, END = "<!-- faults -->\n", "<!-- end of faults -->"


@dataclass(frozen=True)
class Row:
    """One test's line.

    Attributes:
        figures: what it measured; why it was skipped, where it was.
        held: `yes`, `NO` or `skipped`.
        lacking: whether it was skipped for want of something that this machine could have.
    """

    fault: Fault
    figures: tuple[str, ...]
    held: str
    lacking: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """What stands in the columns."""
        return (self.fault.name, self.fault.done, self.fault.holds, "; ".join(self.figures) or "nothing", self.held)


def rows(reports: Iterable[pytest.TestReport]) -> list[Row]:
    """The table's lines, in the order of the faults: one for each test, as its reports say."""
    found: dict[str, Row] = {}
    for report in reports:
        row = _row(report)
        if row and (row.fault.name not in found or row.held == BROKEN):
            found[row.fault.name] = row
    return sorted(found.values(), key=lambda row: _order(row.fault.name))


def _row(report: pytest.TestReport) -> Row | None:
    properties = getattr(report, "user_properties", [])
    told = next((str(value) for name, value in properties if name == FAULT), None)
    if told is None or (report.passed and report.when != "call"):
        return None
    figures = tuple(str(value) for name, value in properties if name == FIGURE)
    if report.skipped and isinstance(report.longrepr, tuple):
        figures = (report.longrepr[2].removeprefix("Skipped: "),)
    held = HELD if report.passed else "skipped" if report.skipped else BROKEN
    return Row(Fault(**json.loads(told)), figures, held, any(name == LACKING for name, _ in properties))


def _order(name: str) -> tuple[int, str]:
    number = re.match(r"F(\d+)", name)
    return int(number[1]) if number else 0, name


def drawn(found: list[Row]) -> str:
    """The table for a terminal."""
    table = Table(box=box.ASCII2, show_lines=True)
    for title, ratio in zip(TITLES, (10, 22, 38, 56, 4), strict=True):
        table.add_column(title, ratio=ratio, overflow="fold")
    for row in found:
        table.add_row(*row.cells)
    out = StringIO()
    Console(file=out, width=WIDTH, markup=False, highlight=False, emoji=False).print(table, markup=False)
    return out.getvalue()


def put(page: Path, found: list[Row]) -> None:
    """Write lines into a page's table, in place of those that stand there; what wasn't run now stays as it was."""
    before, begin, rest = page.read_text().partition(BEGIN)
    stood, end, after = rest.partition(END)
    lines = {_name(line): line for line in stood.splitlines(keepends=True)[2:]} | {
        row.fault.name: _line(row.cells) for row in found
    }
    table = [_line(TITLES), _line(("---",) * len(TITLES)), *(lines[name] for name in sorted(lines, key=_order))]
    page.write_text("".join([before, begin, *table, end, after]))


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def _name(line: str) -> str:
    return line.split("|")[1].strip()
