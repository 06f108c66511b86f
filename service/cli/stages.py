"""Work in stages as people watch it: a bar for each on a terminal, a line for each elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Told = Callable[[str, int, int, int], None]
"""Is told the stage, the steps done, the steps of the stage, and the rows made so far, at the stage's beginning, steps and end."""


@contextmanager
def watching(console: Console) -> Iterator[Told]:
    """Show stages one below the other, for as long as the block runs; what it yields is told each step."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), TextColumn("{task.fields[made]:>14}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        yield _bars(bars)


def _bars(bars: Progress) -> Told:
    tasks: dict[str, TaskID] = {}

    def tell(stage: str, done: int, total: int, rows: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total, made="")
        pulsing = total == 1 and not done  # a single step moves as long as it takes
        bars.update(tasks[stage], completed=done, total=None if pulsing else total, made=f"{rows:,} rows" if rows else "")

    return tell


def _lines(console: Console) -> Told:
    begun: dict[str, float] = {}

    def tell(stage: str, done: int, total: int, rows: int) -> None:
        since = begun.setdefault(stage, time.monotonic())
        if done == total:
            made = f"{rows:,} rows, " if rows else ""
            console.print(f"{stage}: {made}{time.monotonic() - since:.1f} s")

    return tell
