"""What caches must forget: told right after a write is committed, and noted in the write's own transaction until that is done.

A write to a table that somebody keeps copies of leaves a note, one row, in its own transaction. Once it is committed, the caches
are told what changed, and then the note is taken away. A note that stays is a write of which nobody was told: its process was
killed, or couldn't reach the caches. Whoever finds one that is old tells them for it: see `service/cache/epoch.py`.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.sql.selectable import CTE

from service.db.model import Model
from service.db.outbox import What
from service.db.rendering import constant
from service.db.surface import Surface

NOTE = "__note"
"""The name of the note's number in a statement that leaves one: no column's."""
NUMBER_BITS = 63
Values = Mapping[str, Any]

drops = Table(
    "shelfmark_drops",
    Model.metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, comment="drawn at random by whoever writes"),
    Column("of", Text, nullable=False, comment="the table that was written"),
    Column("noted_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
TAKE_AWAY = delete(drops).where(drops.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))
FORGOTTEN = delete(drops).where(drops.c.noted_at < func.clock_timestamp() - text("interval '1 day'"))
"""Takes away what nobody has looked at for a day: nobody keeps copies. Where somebody does, notes are gone within seconds."""
_number = random.SystemRandom().getrandbits


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was written.

    Attributes:
        table: its name.
        key: its primary key; None: rows that nobody has counted, so any of the table.
        old: the values that it had, as far as they decide in which lists it was; None: it is new.
        new: those that it has; None: it is gone.
    """

    table: str
    key: Any = None
    old: Values | None = None
    new: Values | None = None


class Caches(Protocol):
    """Whoever keeps copies of rows."""

    def columns(self, table: str) -> tuple[str, ...] | None:
        """The columns whose values, old and new, must be told of a change to a table; None: nobody keeps copies of it."""

    def tables(self) -> Iterable[str]:
        """The tables that somebody keeps copies of."""

    async def forget(self, changes: Sequence[Change], notes: Sequence[int]) -> None:
        """Forget what is no longer so, and have the notes taken away once that is done. It raises nothing."""


def number() -> int:
    """A number for a note: no other has it."""
    return _number(NUMBER_BITS)


def noting(written: CTE, table: str) -> CTE:
    """The part of a statement that leaves a note, with the number that is bound as `NOTE`, if another part of it writes a row."""
    rows = select(bindparam(NOTE, type_=BigInteger), constant(table)).select_from(written)
    return insert(drops).from_select(["id", "of"], rows).cte("dropped")


async def note(session: AsyncSession | AsyncConnection, notes: Mapping[str, int]) -> None:
    """Leave notes in a transaction, in one statement.

    Args:
        session: of the transaction.
        notes: table -> number.
    """
    if notes:
        await session.execute(insert(drops), [{"id": number, "of": table} for table, number in notes.items()])


def takes_old(dialect: Dialect) -> bool:
    """Whether RETURNING can give what a row was before, as PostgreSQL 18 and newer can."""
    version: tuple[int, ...] = getattr(dialect, "server_version_info", None) or ()
    return version >= (18,)


def before(of: Surface, names: Sequence[str], same: ColumnElement[bool], dialect: Dialect) -> tuple[list[Any], list[Any]]:
    """What gives the values that a row has before an UPDATE.

    Args:
        of: its table.
        names: of the columns.
        same: what finds the row.
        dialect: of the engine that writes.

    Returns:
        The columns to return, labelled, and what the UPDATE must ask for besides: nothing, where PostgreSQL remembers by itself;
        else the row is read first, and locked, in the same statement.
    """
    columns: list[Any] = [of.expressions[name] for name in names]
    if takes_old(dialect):
        quoted = dialect.identifier_preparer.quote
        return [literal_column(f"old.{quoted(one.name)}", one.type).label(f"old_{one.name}") for one in columns], []
    primary = of.expressions[of.primary]
    was = select(primary.label("primary_key"), *columns).where(same).with_for_update().cte("was")
    return [was.c[column.name].label(f"old_{column.name}") for column in columns], [primary == was.c.primary_key]


def after(of: Surface, names: Sequence[str]) -> list[Any]:
    """What gives the values that a row has after a statement has written it, labelled; before a DELETE, too."""
    return [of.expressions[name].label(f"new_{name}") for name in names]


def told(table: str, what: What, record: Sequence[Any], names: Sequence[str]) -> Change:
    """What a statement of one row tells of its change.

    Args:
        table: the row's own.
        what: happened to it.
        record: what the statement gives: the key first, the values of the columns last, old ones before new ones.
        names: of the columns.
    """
    most = len(names)
    last = record[len(record) - most :]
    if what != "changed":
        only = dict(zip(names, last, strict=True))
        return Change(table, record[0], new=only) if what == "created" else Change(table, record[0], old=only)
    was = record[len(record) - 2 * most : len(record) - most]
    return Change(table, record[0], dict(zip(names, was, strict=True)), dict(zip(names, last, strict=True)))
