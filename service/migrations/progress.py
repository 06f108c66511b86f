"""How far the build of an index is, as people watch it: a bar on a terminal, a line in the log every few seconds elsewhere."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

log = logging.getLogger(__name__)

LINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Build:
    """A row of pg_stat_progress_create_index: one phase after the other, each counted in what it goes through.

    Attributes:
        lockers_done: of the transactions that it waits for, those that have ended.
        locker: the process of the one that it waits for now.
    """

    table: str
    index: str | None
    phase: str
    blocks_done: int
    blocks_total: int
    tuples_done: int
    tuples_total: int
    lockers_done: int
    lockers_total: int
    locker: int

    @property
    def measure(self) -> tuple[int, int, str]:
        """Done, in total, and of what."""
        if self.phase.startswith("waiting"):
            return self.lockers_done, self.lockers_total, "transactions"
        if "scanning" in self.phase:
            return self.blocks_done, self.blocks_total, "blocks"
        return self.tuples_done, self.tuples_total, "rows"

    @property
    def name(self) -> str:
        """What is built."""
        return f"{self.index or 'an index'} of {self.table}"

    def __str__(self) -> str:
        done, total, what = self.measure
        measured = f", {done:,} of {total:,} {what} ({done / total:.0%})" if total else ""
        locker = f", now for process {self.locker}" if self.locker else ""
        return f"{self.name}: {self.phase}{measured}{locker}"


Shown = Callable[[Build | None], None]
"""Is told every now and then how far it is, and None when nothing is built."""


@contextmanager
def shown(console: Console | None = None) -> Iterator[Shown]:
    """Show what is told, for as long as the block runs: on a terminal as a bar, else in the log."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    bar = _Bar(console)
    try:
        yield bar.tell
    finally:
        bar.stop()


def _lines() -> Shown:
    last = -math.inf

    def tell(build: Build | None) -> None:
        nonlocal last
        now = time.monotonic()
        if build is not None and now - last >= LINE_SECONDS:
            last = now
            log.info("building %s", build)

    return tell


class _Bar:
    """A bar that is there while something is built, and gone afterwards."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._name, self._phase = "", TaskID(0)

    def tell(self, build: Build | None) -> None:
        if build is None:
            self.stop()
            return
        if self._bar is None or build.name != self._name:
            self.stop()
            self._name, self._bar = build.name, self._started(build)
        done, total, _ = build.measure
        self._bar.update(self._phase, description=str(build), completed=done, total=total or None)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _started(self, build: Build) -> Progress:
        columns = (TimeElapsedColumn(), BarColumn(20), TextColumn("{task.description}", markup=False))
        bar = Progress(*columns, console=self._console, transient=True)
        self._phase = bar.add_task(str(build), total=None)
        bar.start()
        return bar
