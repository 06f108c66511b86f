"""Staged rows become rows of the table, window by window of lines: new keys inserted, rows that differ updated, the rest untouched.

A window is one transaction. When the database refuses it, because another writer was quicker or a value breaks a rule of the
table, the window is tried again, then halved until the line is found that is to blame; that one is rejected, the others stay. Where
values change hands, a half would lack what the other one gives up: there the lines are found while all of them have stepped aside.

The parts of a window keep what they wrote, but the line that is reached, and the rejects, are kept once, at the window's end: a run
that takes over between two parts does the window again, and finds what it wrote unchanged.
Each window leaves notes for whoever keeps copies of the tables: see `service/db/drops.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    exists,
    func,
    not_,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import drops
from service.jobs.resolving import follow, step_aside, uniques
from service.jobs.staging import Reject, Staging
from service.jobs.writing import Writes

TRIES = 4
UNIQUE = "23505"
PASSING = {"40001", "40P01", "55P03", UNIQUE}  # serialization, deadlock, lock timeout, another writer's row
BLAMED = ("22", "23", "54")  # classes of SQLSTATE that a row's own values bring about
PLANNING = {  # plan_cache_mode stays as it is: custom plans would be made for the check of each foreign key, row by row, as well
    "enable_hashjoin": "off",  # a window finds its rows by index; the table behind it may have grown a thousandfold
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_material": "off",  # nor does it walk a list that was empty when statistics were last taken
}


@dataclass(frozen=True)
class Checkpoint:
    """How far an import has come; it is saved in the transaction of what it tells.

    Attributes:
        line: every row up to this line is merged.
        inserted: rows that are new.
        updated: rows that differed.
        unchanged: rows that were there just so.
        late: lines that the database refused at the merge, with their reasons.
    """

    line: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    late: tuple[Reject, ...] = ()

    @property
    def changed(self) -> int:
        """Rows that are others than before."""
        return self.inserted + self.updated

    @property
    def merged(self) -> int:
        """Rows that were merged so far."""
        return self.inserted + self.updated + self.unchanged


Save = Callable[[AsyncConnection, Checkpoint], Awaitable[None]]
Change = Callable[[ColumnElement[bool]], Awaitable[object]]
Check = Callable[[int, Checkpoint], None]
"""Is told how many rows are rejected, with the last checkpoint that is committed; what it raises ends the merge."""


class Merge:
    """The merge of one staged file.

    Attributes:
        reached: the last checkpoint that is committed.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        staging: Staging,
        *,
        save: Save | None = None,
        keep: bool = True,
        reached: Checkpoint | None = None,
        check: Check | None = None,
    ) -> None:
        self._connection = connection
        self._staging = staging
        self._save = save
        self._keep = keep
        self._check = check
        self._writes = Writes(staging)
        self._moved = False
        self._rejected = 0
        self.reached = reached or Checkpoint()
        self._late = list(self.reached.late)

    async def prepare(self) -> None:
        """Set the session up for windows, and commit."""
        for name, value in PLANNING.items():
            await self._connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})
        self._rejected = await self._staging.rejected(self._connection)
        await self._connection.execute(drops.FORGOTTEN)
        await self._connection.commit()

    async def step(self, rows: int) -> bool:
        """Merge the next window of so many rows; False when nothing is left."""
        staging = self._staging
        if not self._moved:  # by each run: which rows they are follows from the table as this one has found it
            await self._move()
            self._moved = True
        ahead = and_(not_(staging.moves), staging.line > self.reached.line)
        window = select(staging.line).where(ahead).order_by(staging.line).limit(rows).subquery()
        last = await self._connection.scalar(select(func.max(window.c.import_line)))
        if last is not None:
            await self._merge(and_(ahead, staging.line <= last), last)
        return last is not None

    async def _move(self) -> None:
        """Merge, first and together, the rows between which unique values change hands: those that the table takes."""
        moves = and_(self._staging.moves)
        while await self._connection.scalar(select(exists().where(moves))):
            refused = await self._tried(moves, self.reached.line)
            if refused is None:
                break
            if blamed := await self._blamed(moves):
                await self._reject(blamed)
                self._count(await follow(self._connection, self._staging))
            else:  # no row by itself; their commit may be
                await self._divide(await self._lines(moves), refused)
                break

    async def _blamed(self, window: ColumnElement[bool]) -> list[Reject]:
        """The rows of a window that the table refuses while all have stepped aside; nothing is kept of how they are found."""
        lines, found = await self._lines(window), list[Reject]()
        for change in (self._name, self._step_aside, self._write):
            await self._search(lines, change, found)
            if found:
                break
        await self._connection.rollback()
        return found

    async def _search(self, lines: Sequence[int], change: Change, found: list[Reject]) -> None:
        """Change rows; what the table refuses of them is found by halves, while the others stay changed."""
        try:
            async with self._connection.begin_nested():
                await change(self._within(lines))
        except DBAPIError as error:
            if not sqlstate(error).startswith(BLAMED):
                raise
            if len(lines) > 1:
                for half in _halves(lines):
                    await self._search(half, change, found)
            else:
                found.append((lines[0], refusal(error, self._staging)))
                self._count(0, beside=len(found))

    async def _merge(self, window: ColumnElement[bool], last: int) -> None:
        """Merge a window, or as much of it as the database takes."""
        if refused := await self._tried(window, last):
            await self._divide(await self._lines(window), refused)
            await self._end(replace(self.reached, line=last, late=tuple(self._late)))

    async def _tried(self, window: ColumnElement[bool], last: int | None = None) -> DBAPIError | None:
        """Merge a whole window, or a part of one; what the database has against its rows, if it takes them not."""
        for attempt in range(TRIES):
            try:
                await self._attempt(window, last)
            except DBAPIError as error:
                await self._connection.rollback()
                state = sqlstate(error)
                if state in PASSING and attempt < (1 if state == UNIQUE else TRIES - 1):
                    continue
                if not state.startswith(BLAMED):
                    raise
                return error
            else:
                return None
        return None

    async def _attempt(self, window: ColumnElement[bool], last: int | None) -> None:
        connection, staging = self._connection, self._staging
        await self._name(window)
        aside = None if self._moved else await self._step_aside(window)
        changed, inserted = await self._write(window)
        updated = changed if aside is None else aside
        rows = await connection.scalar(select(func.count()).select_from(staging.rows).where(window)) or 0
        was = self.reached
        reached = replace(
            was,
            inserted=was.inserted + inserted,
            updated=was.updated + updated,
            unchanged=was.unchanged + rows - inserted - updated,
        )
        if last is not None:
            reached = replace(reached, line=last, late=tuple(self._late))
        await self._end(reached, wrote=changed + inserted > 0)

    async def _name(self, window: ColumnElement[bool]) -> None:
        for reference in self._staging.declared.references:
            await self._connection.execute(self._writes.missing_names(reference, window))

    async def _write(self, window: ColumnElement[bool]) -> tuple[int, int]:
        changed = await self._connection.execute(self._writes.update(window))
        return changed.rowcount, (await self._connection.execute(self._writes.insert(window))).rowcount

    async def _step_aside(self, window: ColumnElement[bool]) -> int:
        """Empty the values that change hands; how many rows will have changed in the end, these among them."""
        table, rows = self._staging.declared.table, self._writes.rows(window).subquery("rows")
        differing = select(func.count()).select_from(table).join(rows, self._writes.differs(table, rows))
        differing = differing.where(rows.c.import_line > self.reached.line)  # the others were counted by the run that merged them
        found = await self._connection.scalar(differing)
        for unique in uniques(self._staging):
            if unique.freed is not None:
                await self._connection.execute(step_aside(self._staging, unique, window))
        return found or 0

    async def _end(self, reached: Checkpoint, *, wrote: bool = False) -> None:
        declared = self._staging.declared
        if wrote:
            written = (declared.table, *(reference.table for reference in declared.references))
            await drops.note(self._connection, {table.name: drops.number() for table in written})
        if self._save is not None:
            await self._save(self._connection, reached)
        await (self._connection.commit() if self._keep else self._connection.rollback())
        self.reached = reached

    async def _divide(self, lines: Sequence[int], refused: DBAPIError) -> None:
        """Merge the halves of a window one by one, and theirs; reject what can't be divided."""
        if len(lines) == 1:
            return await self._reject([(lines[0], refusal(refused, self._staging))])
        for half in _halves(lines):
            if again := await self._tried(self._within(half)):
                await self._divide(half, again)
        return None

    async def _lines(self, window: ColumnElement[bool]) -> Sequence[int]:
        line = self._staging.line
        return (await self._connection.scalars(select(line).where(window).order_by(line))).all()

    def _within(self, lines: Sequence[int]) -> ColumnElement[bool]:
        """A part of a window, always in one form: statements are compiled, and prepared, by their form."""
        moves = self._staging.moves
        return and_(not_(moves) if self._moved else moves, self._staging.line.between(lines[0], lines[-1]))

    async def _reject(self, late: Sequence[Reject]) -> None:
        await self._staging.reject(self._connection, late)
        await self._connection.commit()
        self._late += late
        self._count(len(late))

    def _count(self, rejected: int, beside: int = 0) -> None:
        """So many more are rejected, and others are found to be."""
        self._rejected += rejected
        if self._check is not None:
            self._check(self._rejected + beside, self.reached)


def _halves(lines: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    return lines[: len(lines) // 2], lines[len(lines) // 2 :]


def sqlstate(error: DBAPIError) -> str:
    """The five characters by which PostgreSQL tells what went wrong; empty when it wasn't PostgreSQL that said no."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def refusal(error: DBAPIError, staging: Staging) -> str:
    """Why the database refuses a row, for people."""
    cause: Any = getattr(error.orig, "__cause__", None)
    named = getattr(cause, "constraint_name", None)
    state, table = sqlstate(error), staging.declared.table
    if state == UNIQUE:
        index: Any = next((index for index in table.indexes if index.name == named), None)
        what = ", ".join(column.name for column in index.columns) if index is not None else "a unique value"
        return f"{what}: another row of {table.name} has it"
    if state.startswith("54"):
        return "a value is too long for an index of the table"
    if state == "23502":
        return f"{getattr(cause, 'column_name', None) or 'a required value'} is missing"
    return f"it breaks the rule {named} of {table.name}" if named else f"a value can't be kept by {table.name}"
