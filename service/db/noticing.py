"""What a unit of work writes, noticed for the caches: each statement of its session, and each object that it flushes.

A repository's own methods tell which rows they changed, and what these were before. What anybody else sends through the session is
noticed too, but not looked into: then all that is kept of its table is forgotten. What goes past the session, and what functions
and triggers of the database write, must be told by hand: `unit.noticed.table("books")`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, TextClause, TextualSelect, UpdateBase, event, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import FromStatement, ORMExecuteState, Session
from sqlalchemy.sql.visitors import iterate

from service.db.drops import Caches, Change, after, before, note, number
from service.db.model import Model
from service.db.surface import Surface

TOLD = {"shelfmark_told": True}
"""Options of a statement whose changes are told by whoever sends it."""
READS = re.compile(r"\s*(select|show|set|savepoint|release|rollback|lock)\b", re.IGNORECASE)
WORD = re.compile(r"\w+")


class Noticed:
    """What one unit of work has written, as far as somebody keeps copies of it.

    Args:
        session: of the unit.
        caches: who does; None: nobody, and nothing is noticed.
    """

    def __init__(self, session: AsyncSession, caches: Caches | None) -> None:
        self._session, self._caches = session, caches
        self._changes: list[Change] = []
        self._notes: dict[str, int] = {}
        if caches:
            event.listen(session.sync_session, "do_orm_execute", self._executed)
            event.listen(session.sync_session, "after_flush", self._flushed)

    def before(self, of: Surface, same: ColumnElement[bool]) -> tuple[list[Any], list[Any]]:
        """What an UPDATE must return, and ask for besides, to tell what a row was: see `drops.before`.

        Args:
            of: the row's table.
            same: what finds it.
        """
        names = self._columns(of.contract.table)
        return before(of, names, same, self._session.get_bind().dialect) if names else ([], [])

    def gone(self, of: Surface) -> list[Any]:
        """What a DELETE must return to tell what a row was."""
        return after(of, self._columns(of.contract.table))

    def changed(self, table: str, key: Any, old: Sequence[Any], row: Model | None) -> None:
        """Tell of a row that was changed or deleted.

        Args:
            table: its name.
            key: its primary key.
            old: what `before` or `gone` gave.
            row: as it is now; None: it is gone.
        """
        names = self._columns(table)
        was = dict(zip(names, old, strict=True))
        self._tell(Change(table, key, was, None if row is None else {name: getattr(row, name) for name in names}))

    def created(self, made: Sequence[Model]) -> None:
        """Tell of rows that are new."""
        for one in made:
            new = {name: getattr(one, name) for name in self._columns(one.__tablename__)}
            self._tell(Change(one.__tablename__, key_of(one), None, new))

    def table(self, name: str) -> None:
        """Tell of rows of a table that were written, whichever they are."""
        self._tell(Change(name))

    async def note(self) -> None:
        """Leave notes of all that, as a part of the transaction."""
        self._notes = {table: number() for table in dict.fromkeys(change.table for change in self._changes)}
        await note(self._session, self._notes)

    async def forget(self) -> None:
        """Have it forgotten: the transaction stands."""
        if self._caches and self._changes:
            await self._caches.forget(self._changes, list(self._notes.values()))

    def _columns(self, table: str) -> tuple[str, ...]:
        """The columns whose old and new values must be told; none where nobody keeps copies of the table."""
        return (self._caches.columns(table) if self._caches else None) or ()

    def _tell(self, change: Change) -> None:
        if self._caches and self._caches.columns(change.table) is not None:
            self._changes.append(change)

    def _executed(self, state: ORMExecuteState) -> None:
        if not TOLD.items() <= state.execution_options.items():
            for name in dict.fromkeys(_written(state.statement)):
                self.table(name)

    def _flushed(self, session: Session, _: Any) -> None:
        for one in (*session.new, *session.dirty, *session.deleted):
            self.table(one.__tablename__)


def key_of(row: Model) -> Any:
    """A row's primary key."""
    return inspect(row).mapper.primary_key_from_instance(row)[0]


def _written(statement: Any) -> Iterator[str]:
    """The names of the tables that a statement writes, in whichever part of it.

    Where it is text, that is each word that may be one: as it stands, and in the small letters that PostgreSQL makes of it.
    """
    parts = list(iterate(statement)) if hasattr(statement, "get_children") else []  # a Sequence, executed, has none
    for part in parts:
        if isinstance(part, UpdateBase):
            yield from (found.name for found in iterate(part.table) if isinstance(found, Table))
    texts = [statement, *(part.element for part in parts if isinstance(part, FromStatement | TextualSelect))]
    for said in texts:  # any other text is a piece of a statement, and PostgreSQL takes none there that writes
        if isinstance(said, TextClause) and not READS.match(said.text):
            yield from (name for word in WORD.findall(said.text) for name in (word, word.lower()))
