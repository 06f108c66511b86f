"""Which staged rows stand in each other's way, or in the way of rows in the table: found set by set, before anything is merged.

Three rules, the same for every file and every table:

1. A key that stands twice in the file: the last line wins.
2. A unique value that a row of the table holds rejects the line that wants it, unless that row gives it up in the same file.
3. A unique value that several lines want and no row of the table holds: the first line wins.

Each rejection can bring about another one: a row that may not change gives nothing up. That is followed from row to row in one
statement, since a column that slipped by a line makes a chain of the whole file. What remains can be merged in any order, save for
values that change hands: those rows are marked to go first, together. Rejects are the same when the file is imported again: the
winners then hold what they won.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Index,
    Select,
    Update,
    and_,
    bindparam,
    case,
    false,
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
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.visitors import replacement_traverse

from service.jobs.staging import Reject, Staging

Values = list[ColumnElement[Any]]
KEPT = 0
"""The line of a row that gives nothing up."""
JOINS = select(*(func.set_config(f"enable_{name}", bindparam("value"), true()) for name in ("hashjoin", "mergejoin", "seqscan")))


class Unique:
    """A unique index of the table, whose values are known from the staged rows alone.

    Attributes:
        names: its columns, for people.
        freed: the column that is emptied when a row gives its value up before it gets the new one; None where it can't be.
    """

    def __init__(self, index: Index, staging: Staging) -> None:
        self._index = index
        self._staging = staging
        columns: list[Column[Any]] = list(cast("Any", index).columns)
        self.freed = next((column for column in columns if column.nullable), None)
        self.names = ", ".join(column.name for column in columns)

    def of(self, rows: FromClause) -> Values:
        """What it compares, over the table or over staged rows."""
        return [self._over(expression, rows) for expression in self._index.expressions]

    def counts(self, rows: FromClause) -> ColumnElement[bool]:
        """Whether a row is in the index, with a value that can collide."""
        where = self._index.dialect_options["postgresql"]["where"]
        predicate = [] if where is None else [self._over(where, rows)]
        return and_(*(value.is_not(None) for value in self.of(rows)), *predicate)

    def equal(self, one: FromClause, other: FromClause) -> ColumnElement[bool]:
        """Whether two rows collide."""
        pairs = zip(self.of(one), self.of(other), strict=True)
        return and_(*(left == right for left, right in pairs), self.counts(one), self.counts(other))

    def shown(self, rows: FromClause) -> ColumnElement[str]:
        """The names and the values, for a reason."""
        return func.concat(f"{self.names} ", func.concat_ws(", ", *self.of(rows)))

    def _over(self, expression: Any, rows: FromClause) -> Any:
        own = self._staging.identity(None)

        def replaced(element: Any, **_: Any) -> Any:
            if not isinstance(element, Column):
                return None
            return rows.c[element.name] if element.name in rows.c else literal(own[element.name])

        return replacement_traverse(expression, {}, replaced)


def uniques(staging: Staging) -> Iterator[Unique]:
    """The unique indexes whose values the file gives; others are left to the database at the merge."""
    declared = staging.declared
    given = {column.name for column in declared.columns if column.name in staging.written} | declared.identity - {declared.key.key}
    for index in sorted(declared.table.indexes, key=lambda index: str(index.name)):
        if index.unique and index is not declared.arbiter and {column.name for column in cast("Any", index).columns} <= given:
            yield Unique(index, staging)


async def resolve(connection: AsyncConnection, staging: Staging, late: Sequence[Reject] = ()) -> None:
    """Move every row that can't be merged to the rejects, and mark those to be merged first.

    Args:
        connection: the one with the staged rows.
        staging: they.
        late: what the table refused when an earlier run merged it; that is known after the rules, as it was then.
    """
    await _reject(connection, staging, _earlier_duplicates(staging))
    rules = [rule for unique in uniques(staging) for rule in (_held(staging, unique), _contested(staging, unique))]
    found = sum([await _reject(connection, staging, rule) for rule in rules])
    if late:
        await staging.reject(connection, late)
    if found or late:
        await follow(connection, staging)
    for unique in uniques(staging):
        if unique.freed is not None:
            await connection.execute(_mark_moves(staging, unique))
    await connection.commit()


async def follow(connection: AsyncConnection, staging: Staging) -> int:
    """Reject the rows that want what a rejected one keeps, and those that want what these keep; how many. Commits."""
    await connection.execute(JOINS, {"value": "on"})
    for place, unique in enumerate(uniques(staging)):
        hands = _hands(staging, unique, place)
        await connection.execute(insert(staging.hands).from_select([column.name for column in staging.hands.columns], hands))
    await connection.execute(JOINS, {"value": "off"})  # each step looks its rows up by index, else it would read all of them
    found = await _reject(connection, staging, _stuck(staging))
    await connection.execute(text(f"TRUNCATE {staging.hands.name}"))
    await connection.commit()
    return found


async def _reject(connection: AsyncConnection, staging: Staging, found: Select[Any]) -> int:
    columns = [column.name for column in staging.rejects.columns]
    result = await connection.execute(insert(staging.rejects).from_select(columns, found))
    if result.rowcount:
        await staging.drop_rejected(connection)
    return result.rowcount


def _earlier_duplicates(staging: Staging) -> Select[Any]:
    last = func.max(staging.line)
    again = select(staging.key.label("key"), last.label("last")).group_by(staging.key).having(func.count() > 1).subquery()
    reason = func.concat("line ", again.c.last, " has the same key (", again.c.key, "), and the last one wins")
    return select(staging.line, reason).join(again, again.c.key == staging.key).where(staging.line < again.c.last)


def _held(staging: Staging, unique: Unique) -> Select[Any]:
    """Rows that want what another row of the table holds, and keeps."""
    table, rows = staging.declared.table, staging.rows
    holder = rows.alias("holder")
    stays = [] if unique.freed is None else [or_(holder.c.import_line.is_(None), unique.equal(holder, table))]
    in_file = func.concat(unique.shown(rows), ": line ", holder.c.import_line, " of this file has it too")
    reason = case((unique.equal(holder, rows), in_file), else_=_in_table(staging, unique))
    return (
        select(staging.line, reason)
        .join(table, and_(unique.equal(rows, table), _another(staging, staging.key)))
        .outerjoin(holder, staging.means(holder.c.import_key, table))
        .where(*stays)
    )


def _contested(staging: Staging, unique: Unique) -> Select[Any]:
    """Rows that want what an earlier line wants."""
    rows = staging.rows
    labels = [value.label(f"value_{place}") for place, value in enumerate(unique.of(rows))]
    several = (
        select(func.min(staging.line).label("first"), *labels)
        .where(unique.counts(rows))
        .group_by(*unique.of(rows))
        .having(func.count() > 1)
        .subquery()
    )
    same = (value == several.c[label.name] for value, label in zip(unique.of(rows), labels, strict=True))
    reason = func.concat(unique.shown(rows), ": line ", several.c.first, " of this file has it too")
    return select(staging.line, reason).join(several, and_(*same)).where(unique.counts(rows), staging.line > several.c.first)


def _hands(staging: Staging, unique: Unique, place: int) -> Select[Any]:
    """Rows that want what another row of the table holds, and the line by which that gives it up."""
    table, rows = staging.declared.table, staging.rows
    holder = rows.alias("holder")
    keeps = true() if unique.freed is None else or_(holder.c.import_line.is_(None), unique.equal(holder, table))
    gives = case((keeps, KEPT), else_=holder.c.import_line)
    return (
        select(staging.line, gives, literal(place), _in_table(staging, unique))
        .join(table, and_(unique.equal(rows, table), _another(staging, staging.key)))
        .outerjoin(holder, staging.means(holder.c.import_key, table))
    )


def _stuck(staging: Staging) -> Select[Any]:
    """Rows that want what is kept, from row to row; each with its first reason."""
    hands = staging.hands
    wanted = select(hands.c.takes, hands.c.place, hands.c.reason)
    kept = wanted.where(hands.c.gives == KEPT).cte("stuck", recursive=True)
    stuck = kept.union(wanted.join(kept, hands.c.gives == kept.c.takes))
    return select(stuck.c.takes, stuck.c.reason).ext(distinct_on(stuck.c.takes)).order_by(stuck.c.takes, stuck.c.place)


def _in_table(staging: Staging, unique: Unique) -> ColumnElement[str]:
    """Why a row is rejected that wants what a row of the table keeps."""
    table = staging.declared.table
    (primary,) = table.primary_key.columns
    return func.concat(unique.shown(staging.rows), f": another row of {table.name} has it ({primary.name} ", primary, ")")


def _another(staging: Staging, key: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a row of the table is not the one that a key means; a row without a source is nobody's."""
    return not_(func.coalesce(staging.means(key, staging.declared.table), false()))


def _mark_moves(staging: Staging, unique: Unique) -> Update:
    """Mark both sides of each value that changes hands: the row that takes it, and the row that gives it up."""
    table, rows = staging.declared.table, staging.rows
    taker, holder = rows.alias("taker"), rows.alias("holder")
    hands = (
        select(taker.c.import_line.label("takes"), holder.c.import_line.label("gives"))
        .join(table, and_(unique.equal(taker, table), _another(staging, taker.c.import_key)))
        .join(holder, staging.means(holder.c.import_key, table))
        .cte("hands")
    )
    lines = select(hands.c.takes).union_all(select(hands.c.gives))
    return update(rows).where(staging.line.in_(lines)).values({staging.moves: True})


def step_aside(staging: Staging, unique: Unique, window: ColumnElement[bool]) -> Update:
    """Empty the values that change hands, so that no order among the rows has to be found."""
    table, rows = staging.declared.table, staging.rows
    leaves = and_(window, staging.means(staging.key, table), not_(func.coalesce(unique.equal(rows, table), false())))
    return update(table).where(leaves).values({unique.freed: None})
