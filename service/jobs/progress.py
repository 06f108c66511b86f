"""An import, or an export, as people watch it: a bar on a terminal, a line now and then elsewhere; a table at an import's end.

All of it goes to stderr.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.jobs.importing import Progress as Reached
from service.jobs.importing import Summary

EVERY_SECONDS = 5.0
ROWS = ("read", "inserted", "updated", "unchanged", "rejected")


@contextmanager
def watching(console: Console, every: float = EVERY_SECONDS) -> Iterator[Callable[[Reached], None]]:
    """Show how far it is, for as long as the block runs; what it yields is told each step.

    Args:
        console: where to; a terminal gets a bar, anything else a line every so often.
        every: seconds between two lines.
    """
    if not console.is_terminal:
        yield _lines(console, every)
        return
    columns = (TextColumn("{task.description:>9}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {stage: bars.add_task(stage, total=None, visible=False) for stage in ("reading", "merging", "exporting")}
        yield lambda reached: bars.update(tasks[reached.stage], completed=reached.done, total=reached.total, visible=True)


def show(summary: Summary, console: Console) -> None:
    """Print what an import did: a table whose first row is the sum of the others."""
    console.print(f"{summary.source}: nothing was written (dry run)" if summary.dry_run else summary.source, highlight=False)
    table = Table("", "rows", show_header=False)
    table.columns[1].justify = "right"
    for name in ROWS:
        table.add_row(name, f"{getattr(summary, name):,}")
    console.print(table)
    console.print(f"{summary.seconds:.1f} s, {summary.read / max(summary.seconds, 0.001):,.0f} rows/s", highlight=False)


def _lines(console: Console, every: float) -> Callable[[Reached], None]:
    told = time.monotonic()

    def tell(reached: Reached) -> None:
        nonlocal told
        if time.monotonic() - told >= every:
            told = time.monotonic()
            share = reached.done / reached.total if reached.total else 1.0
            console.print(f"{reached.stage}: {share:.0%}", highlight=False)

    return tell
