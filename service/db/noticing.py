"""What a unit of work writes, noticed for the caches: each statement that its connection sends, whoever sends it.

A repository's own methods tell which rows they changed, and what these were before. What anybody else sends, by the session, its
objects, or the connection under it, is noticed too, but not looked into: then all that is kept of its table is forgotten. What goes
past SQLAlchemy, and what is written under another name, by functions, triggers, views and partitions of the database, must be told
by hand: `unit.noticed.table("books")`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, SelectBase, Table, TextClause, TextualSelect, UpdateBase, event, inspect
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import FromStatement
from sqlalchemy.sql.visitors import iterate

from service.db.drops import Caches, Change, after, before, note, number
from service.db.model import Model
from service.db.surface import Surface

TOLD = {"shelfmark_told": True}
"""Options of a statement whose changes are told by whoever sends it."""
READS = re.compile(r"\s*(select|show|set|savepoint|release|rollback|lock)\b", re.IGNORECASE)
EMPTIES = re.compile(r"\s*truncate\b.*\bcascade\b", re.IGNORECASE | re.DOTALL)
"""What empties tables that it doesn't name."""
WORD = re.compile(r"\w+")
SENT = "before_cursor_execute"
PARTS = (UpdateBase, SelectBase, FromStatement)
"""Statements that are made of parts which tell what they write."""


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
            event.listen(self._connection, SENT, self._sent)

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

    def end(self) -> None:
        """Notice nothing more: the connection may go on with another unit's work."""
        if self._caches:
            event.remove(self._connection, SENT, self._sent)

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

    @property
    def _connection(self) -> Any:
        """Which all that the unit sends goes through."""
        return self._session.sync_session.get_bind()

    def _sent(self, _: Connection, _cursor: Any, sql: str, _values: Any, context: ExecutionContext, _many: bool) -> None:
        if TOLD.items() <= context.execution_options.items():
            return
        for name in dict.fromkeys(self._written(sql, context.compiled and context.invoked_statement)):
            self.table(name)

    def _written(self, sql: str, statement: Any) -> Iterator[str]:
        if EMPTIES.match(sql) and self._caches:
            yield from self._caches.tables()
        yield from _parts_written(statement) if isinstance(statement, PARTS) else _words(sql)


def key_of(row: Model) -> Any:
    """A row's primary key."""
    return inspect(row).mapper.primary_key_from_instance(row)[0]


def _parts_written(statement: Any) -> Iterator[str]:
    """The names of the tables that a statement writes, in whichever part of it."""
    for part in iterate(statement):
        if isinstance(part, UpdateBase):
            yield from (found.name for found in iterate(part.table) if isinstance(found, Table))
        said = part.element if isinstance(part, FromStatement | TextualSelect) else None
        if isinstance(said, TextClause):  # any other text is a piece of a statement, and PostgreSQL takes none there that writes
            yield from _words(said.text)


def _words(sql: str) -> Iterator[str]:
    """Each word of a text that may be a table which it writes: as it stands, and in the small letters that PostgreSQL reads."""
    if not READS.match(sql):
        yield from (name for word in WORD.findall(sql) for name in (word, word.lower()))
