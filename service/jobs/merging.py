"""Staged rows become rows of the table, window by window of lines: new keys inserted, rows that differ updated, the rest untouched.

A window is one transaction. When the database refuses it, because another writer was quicker or a value breaks a rule of the
table, the window is tried again, then halved until the line is found that is to blame; that one is rejected, the others stay.
Its parts keep what they wrote, but the line that is reached, and the rejects, are kept once, at the window's end: a run that takes
over between two parts does the window again, and finds what it wrote unchanged.
Each window leaves notes for whoever keeps copies of the tables: see `service/db/drops.py`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    and_,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import drops
from service.jobs.resolving import step_aside, uniques
from service.jobs.shaping import Reference
from service.jobs.staging import Reject, Staging

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
        """Merge, first and together, the rows between which unique values change hands."""
        moves = and_(self._staging.moves)
        if await self._connection.scalar(select(exists().where(moves))):
            await self._merge(moves, self.reached.line)

    async def _merge(self, window: ColumnElement[bool], last: int) -> None:
        """Merge a window, or as much of it as the database takes."""
        if refused := await self._tried(window, last):
            await self._divide(window, refused)
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
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))
        for reference in staging.declared.references:
            await connection.execute(self._missing_names(reference, window))
        aside = None if self._moved else await self._step_aside(window)
        changed = (await connection.execute(self._update(window))).rowcount
        updated = changed if aside is None else aside
        inserted = (await connection.execute(self._insert(window))).rowcount
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

    async def _step_aside(self, window: ColumnElement[bool]) -> int:
        """Empty the values that change hands; how many rows will have changed in the end, these among them."""
        table, rows = self._staging.declared.table, self._rows(window).subquery("rows")
        differing = select(func.count()).select_from(table).join(rows, self._differs(table, rows))
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

    async def _divide(self, window: ColumnElement[bool], refused: DBAPIError) -> None:
        """Merge the halves of a window one by one, and theirs; reject what can't be divided."""
        line = self._staging.line
        lines = (await self._connection.scalars(select(line).where(window).order_by(line))).all()
        if len(lines) == 1:
            return await self._reject([(lines[0], refusal(refused, self._staging))])
        middle = lines[len(lines) // 2]
        for half in (and_(window, line < middle), and_(window, line >= middle)):
            if again := await self._tried(half):
                await self._divide(half, again)
        return None

    async def _reject(self, late: Sequence[Reject]) -> None:
        await self._staging.reject(self._connection, late)
        await self._connection.commit()
        self._late += late
        self._rejected += len(late)
        if self._check is not None:
            self._check(self._rejected, self.reached)

    def _missing_names(self, reference: Reference, window: ColumnElement[bool]) -> Any:
        """Names that the other table lacks; sorted, so that two imports don't wait for each other in a circle."""
        name = self._staging.rows.c[f"import_{reference.field}"]
        folded, column = reference.match(name), reference.table.columns[reference.name.key]
        known = exists().where(reference.match(column) == folded)
        missing = (
            select(name).ext(distinct_on(folded)).where(window, name.is_not(None), not_(known)).order_by(folded, self._staging.line)
        )
        return insert_or_ignore(reference.table).from_select([column.name], missing).on_conflict_do_nothing()

    def _rows(self, window: ColumnElement[bool]) -> Select[Any]:
        """Staged rows as they shall stand in the table."""
        staging, declared = self._staging, self._staging.declared
        joined: Any = staging.rows
        values = {
            name: literal(value) if isinstance(value, str) else value for name, value in staging.identity(staging.key).items()
        }
        for reference in declared.references:
            other = reference.table.alias(f"other_{reference.field}")
            same = reference.match(other.c[reference.name.key]) == reference.match(staging.rows.c[f"import_{reference.field}"])
            joined = joined.outerjoin(other, same)
            values[reference.column.key] = other.c[reference.id.name]
        values |= {column.name: staging.rows.c[column.name] for column in declared.columns if column.name in self._staging.written}
        if declared.extras is not None:
            values[declared.extras.key] = staging.rows.c.import_extras
        return select(*(value.label(name) for name, value in values.items()), staging.line).select_from(joined).where(window)

    def _update(self, window: ColumnElement[bool]) -> Any:
        """Change the rows that differ, each looked up by its key: statistics that don't know the source can't turn that around."""
        table, rows = self._staging.declared.table, self._rows(window).subquery("rows")
        there, primary = table.alias("there"), table.primary_key.columns.keys()
        keys = (there.c[name].label(f"import_{name}") for name in primary)
        found = select(*keys).where(self._differs(there, rows)).limit(1).lateral("found")
        changed = select(rows, *found.c).select_from(rows.join(found, true())).subquery("changed")
        same = (table.c[name] == changed.c[f"import_{name}"] for name in primary)
        return update(table).where(*same).values(self._new(table, changed))

    def _new(self, table: FromClause, rows: Subquery) -> dict[str, ColumnElement[Any]]:
        """The columns that a merge may change, as the staged rows have them."""
        identity = self._staging.declared.identity
        return {name: column for name, column in rows.c.items() if name not in identity and name in table.columns}

    def _differs(self, table: FromClause, rows: Subquery) -> ColumnElement[bool]:
        """Whether a row of the table is the one that a staged row means, and not just so."""
        differs = or_(*(table.c[name].is_distinct_from(column) for name, column in self._new(table, rows).items()))
        return and_(*(table.c[name] == rows.c[name] for name in self._staging.declared.identity), differs)

    def _insert(self, window: ColumnElement[bool]) -> Any:
        table, staging = self._staging.declared.table, self._staging
        rows = self._rows(window).where(not_(exists().where(staging.means(staging.key, table)))).order_by(staging.line)
        named = rows.subquery("rows")
        names = [column.name for column in named.columns if column.name in table.columns]
        return insert(table).from_select(names, select(*(named.c[name] for name in names)).order_by(named.c.import_line))


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
