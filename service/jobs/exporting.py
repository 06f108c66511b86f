"""An export: every row of a question as a file, made part by part and never held as a whole.

Each part is the text of one page, and says how far the file is with it. Whoever keeps that can go on from there, in another process
too, and gets the same bytes as if nothing had happened, as far as the rows stay the same.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import ARRAY, JSON

from service.contract.choose import completed
from service.contract.question import Question
from service.db import Repository, Surface
from service.db.searching import SEARCH_MOST
from service.db.walking import Keys, Loaded, Stretch, Walk, Written, writable
from service.errors import Problem, TimedOut
from service.jobs.lines import Style, cells_of, csv_line, json_line
from service.jobs.opening import Format

PAGE_ROWS = (1, 10, 50, 200)
"""How many rows one read may take. Few sizes, since each is a statement of its own; and no more than a list has, since rows that
are narrow may be followed by wide ones."""
FIRST = 1
PAGE_BYTES = 1 << 20
"""About as much as one page should be: rows may be wide."""
WAITS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds between the tries of a page that the database has no time for."""
MEDIA_TYPES: Mapping[Format, str] = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}


@dataclass(frozen=True)
class Export:
    """What is exported.

    Attributes:
        rows: the table's queries.
        of: what the question is put to.
        question: any that the contract serves.
        members: what is wanted of each row, in order.
        style: how the file is written.
        shown: makes the members of a loaded row, ready to be rendered.
        plain: whether the members are the values of their columns.
        search_most: rows that a search may find.
    """

    rows: Repository[Any]
    of: Surface
    question: Question
    members: tuple[str, ...]
    style: Style
    shown: Callable[[Any], Mapping[str, Any]]
    plain: bool
    search_most: int = SEARCH_MOST


@dataclass(frozen=True, slots=True)
class Reached:
    """How far an export is.

    Attributes:
        rows: that the file holds so far.
        bytes: likewise.
        last: the keys of the last of them; None where no row follows, or none was read.
        whole: no row follows.
    """

    rows: int = 0
    bytes: int = 0
    last: Keys | None = None
    whole: bool = False

    def dumped(self, export: Export) -> dict[str, Any]:
        """The same as JSON takes it."""
        last = self.last and [export.of.dumped(name, value) for name, value in zip(_order(export), self.last, strict=True)]
        return {"rows": self.rows, "bytes": self.bytes, "last": last, "whole": self.whole}

    @classmethod
    def loaded(cls, export: Export, dumped: Mapping[str, Any]) -> "Reached":
        """What `dumped` made.

        Raises:
            ValueError: a key was of another type then.
        """
        last = dumped["last"]
        if last is not None:
            last = tuple(export.of.loaded(name, value) for name, value in zip(_order(export), last, strict=True))
        return cls(dumped["rows"], dumped["bytes"], last, dumped["whole"])


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the file, and how far the file is with it."""

    data: bytes
    reached: Reached


class Exporting:
    """The parts of a file, one at least: `async for part in Exporting(export)`.

    Args:
        export: what is exported.
        reached: how far the file is already; None: it begins.

    Raises:
        IndexNotReady: no index that the database has serves the question, or none does any more.
        TooManyMatches: a search finds too much.
        Problem: the database is away, busy or slow; but for the first part, it is so for some seconds.
    """

    def __init__(self, export: Export, reached: Reached | None = None) -> None:
        self._reader, self._lines = _Reader(_walk(export)), _lines(export)
        begins = reached is None and export.style.format == "csv"
        self._head = csv_line(export.members, "keep") if begins else ""
        self._reached = reached or Reached()
        self._begun = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        reached = self._reached
        if reached.whole:
            raise StopAsyncIteration
        stretch = await self._reader.page(reached.last, patient=self._begun)
        data = (self._head + "".join(self._lines(stretch.rows))).encode()
        self._reader.fit(len(data), len(stretch.rows))
        rows, size = reached.rows + len(stretch.rows), reached.bytes + len(data)
        self._reached = Reached(rows, size, stretch.last, whole=stretch.last is None)
        self._head, self._begun = "", True
        return Part(data, self._reached)


@dataclass
class _Reader:
    """Reads page by page, as many rows at a time as are worth a read and fit into memory."""

    walk: Walk
    size: int = FIRST
    most: int = len(PAGE_ROWS) - 1

    async def page(self, last: Keys | None, *, patient: bool) -> Stretch:
        """The next rows.

        Args:
            last: the keys of the row before.
            patient: the database may be busy, or away, for a moment.
        """
        waits = iter(WAITS if patient else ())
        while True:
            try:
                return await self.walk.page(last, PAGE_ROWS[self.size])
            except Problem as problem:
                if isinstance(problem, TimedOut) and self.size:
                    self.most = self.size = self.size - 1
                    continue
                seconds = next(waits, None)
                if seconds is None or problem.retry_after is None:
                    raise
                await asyncio.sleep(seconds)

    def fit(self, size: int, rows: int) -> None:
        """Take more rows, or fewer, with the next page."""
        if size > PAGE_BYTES and self.size:
            self.size -= 1
        elif self.size < self.most and size * PAGE_ROWS[self.size + 1] <= PAGE_BYTES * max(rows, 1):
            self.size += 1


def _walk(export: Export) -> Walk:
    if _is_written(export):
        return Written(export.rows.database, export.of, export.question, export.members, cells=export.style.format == "csv")
    columns = list(export.members) if export.plain else None
    return Loaded(export.rows, export.of, export.question, columns, export.search_most)


def _lines(export: Export) -> Callable[[Sequence[Any]], Iterator[str]]:
    """What makes lines of the rows that the walk gives."""
    if _is_written(export):
        if export.style.format == "csv":
            return lambda rows: (csv_line(row, export.style.formulas) for row in rows)
        return lambda rows: (f"{row[0]}\n" for row in rows)
    if export.style.format == "csv":
        structured = _structured(export)
        return lambda rows: (csv_line(cells_of(export.shown(row), structured), export.style.formulas) for row in rows)
    return lambda rows: (json_line(export.shown(row)) for row in rows)


def _is_written(export: Export) -> bool:
    """Whether PostgreSQL writes the rows."""
    return export.plain and not export.question.searches and writable(export.of, export.members)


def _structured(export: Export) -> Collection[str]:
    """The members that hold JSON."""
    columns = [name for name in export.members if name in export.of.expressions]
    return frozenset(name for name in columns if isinstance(export.of.type_of(name), JSON | ARRAY))


def _order(export: Export) -> list[str]:
    """The names whose values tell where an export is."""
    return [sort.name for sort in completed(export.of.contract, export.question)]
