"""Rows as a table where a terminal has room for it, and one below the other where it hasn't: no name is broken across lines."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

PAGE_WIDTH = 150
"""Of what goes into a file or another program."""
ROOM = 115
"""Columns of a terminal below which a table would break the names of indexes."""
NUMBERS = frozenset({"size", "scans", "buffers", "counting"})
NAMED = NUMBERS | {"last use"}
"""Cells that say nothing without the name of their column."""
EMPTY = frozenset({"", "-"})
INDENT = 4


def show(names: Sequence[str], rows: Sequence[Sequence[str]], *, long: str, sections: Sequence[str] = ()) -> None:
    """Print rows.

    Args:
        names: of the columns.
        rows: a cell for each column, as Rich's markup.
        long: the column that takes most room.
        sections: one for each row: where it differs from the row before, there is a gap.
    """
    probe = Console(highlight=False)
    out = probe if probe.is_terminal else Console(highlight=False, width=PAGE_WIDTH)
    if rows and out.width < ROOM:
        _below_each_other(out, names, rows, long)
    elif rows:
        _beside_each_other(out, names, rows, sections)


def _beside_each_other(out: Console, names: Sequence[str], rows: Sequence[Sequence[str]], sections: Sequence[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name in NUMBERS else "left")
    for at, row in enumerate(rows):
        if at and sections and sections[at] != sections[at - 1]:
            table.add_section()
        table.add_row(*row)
    out.print(table)


def _below_each_other(out: Console, names: Sequence[str], rows: Sequence[Sequence[str]], long: str) -> None:
    out.print(f"{', '.join(name for name in names if name != long)}; below: {long}\n")
    for row in rows:
        cells = dict(zip(names, row, strict=True))
        rest = cells.pop(long)
        out.print("  ".join(f"{name} {cell}" if name in NAMED else cell for name, cell in cells.items() if cell not in EMPTY))
        for line in rest.splitlines():
            out.print(Padding(line, (0, 0, 0, INDENT)))
    out.print()
