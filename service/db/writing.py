"""Writes that are one statement and, by themselves, a transaction: the row, what is noted of it, its answer, the row as JSON.

A unit of work is at least three round trips: begin, write, commit. One statement under autocommit is one, and as safe: it stands or
it doesn't. Whatever has more to do (hooks, a repository's own way of writing, values that SQLAlchemy makes in Python, a unit of
work around it) stays a unit of work.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Dialect,
    Insert,
    Integer,
    Select,
    Update,
    Uuid,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.sql.selectable import CTE

from service.db.answers import answering, unanswered
from service.db.drops import after, before, noting
from service.db.outbox import What, noted
from service.db.reading import Compiled, compiled
from service.db.rendering import row
from service.db.surface import Surface
from service.db.version import VERSION, columns_of, one_version

Statement = Insert | Update | Delete
Drops = tuple[str, ...] | None
"""The columns whose values caches must be told of, old and new; None: nobody keeps copies of the table."""
Make = Callable[[tuple[str, ...], Drops], Statement | None]
KEY = "__key"
"""The name of the primary key of the row that is changed or deleted: no column's."""


class Writing:
    """The one-statement writes of one table, compiled once for each set of names.

    Args:
        of: the table.
        columns: the names that are shown of a row that was created, in their order.
        dialect: of the engine that writes.
    """

    def __init__(self, of: Surface, columns: tuple[str, ...], dialect: Dialect) -> None:
        self._of, self._columns, self._dialect = of, columns, dialect
        self._made: dict[tuple[str, bool, tuple[str, ...], Drops], Compiled | None] = {}
        self._version = [column.label(name) for column, name in zip(columns_of(of.model), VERSION, strict=True)]

    def create(self, names: tuple[str, ...], *, note: bool, drops: Drops = None) -> Compiled | None:
        """An INSERT that gives `key`, `data`, the row as JSON, its `VERSION`, and what caches must know: the new values.

        Args:
            names: of the values that it takes.
            note: whether the outbox is to tell of it.
            drops: what caches must know: these columns of the new row. It leaves a note for them, too: see `drops.py`.
        """
        return self._statement("created", note, names, drops, self._insert)

    def create_once(self, names: tuple[str, ...], *, note: bool, drops: Drops = None) -> Compiled | None:
        """The same, which also keeps its answer: see `answers.Once.values`.

        It gives nothing where the answer is kept already, and fails where that was done meanwhile.
        """
        shape = ("once", note, names, drops)
        if shape not in self._made:
            self._made[shape] = self._once(names, note=note, drops=drops)
        return self._made[shape]

    def _once(self, names: tuple[str, ...], *, note: bool, drops: Drops) -> Compiled | None:
        made = self._insert(names, drops)
        if made is None or not names or self._prepares(made) or not isinstance(self._primary.type, Integer | Uuid):
            return None
        values = self._values(names)
        once = select(*(values[name] for name in names)).where(unanswered())
        data = row({name: self._of.expressions[name] for name in self._columns}, self._of.contract.nullable)
        assert data is not None  # noqa: S101  # or nothing had been made of it above
        written = insert(self._of.model).from_select(names, once).returning(*self._told(data, drops))
        return self._compiled(written, "created", note, drops, answering)

    def change(self, names: tuple[str, ...], *, note: bool, match: bool = False, drops: Drops = None) -> Compiled | None:
        """An UPDATE of the row whose key is bound as `KEY`: `key`, the row's new `VERSION`, for caches the old values, then new.

        Args:
            names: what is changed.
            note: for the outbox.
            match: only if it is of the version that is bound as `version.NUMBER` and `version.CHANGED_AT`.
            drops: for caches.
        """
        return self._statement("changed", note, names, drops, partial(self._update, match), match)

    def delete(self, *, note: bool, match: bool = False, drops: Drops = None) -> Compiled | None:
        """A DELETE of the row whose key is bound as `KEY`: `key`, the row's last `VERSION`, for caches the old values."""
        return self._statement("deleted", note, (), drops, partial(self._delete, match), match)

    def _statement(  # noqa: PLR0917  # what tells one statement from another
        self, what: What, note: bool, names: tuple[str, ...], drops: Drops, make: Make, match: bool = False
    ) -> Compiled | None:
        shape = (f"{what} {match}", note, names, drops)
        if shape not in self._made:
            statement = make(names, drops)
            possible = statement is not None and not self._prepares(statement)
            self._made[shape] = self._compiled(statement, what, note, drops) if statement is not None and possible else None
        return self._made[shape]

    def _insert(self, names: tuple[str, ...], drops: Drops) -> Statement | None:
        data = row({name: self._of.expressions[name] for name in self._columns}, self._of.contract.nullable)
        if data is None:
            return None
        made = insert(self._of.model).values(self._values(names)) if names else insert(self._of.model)
        return made.returning(*self._told(data, drops))

    def _told(self, data: ColumnElement[str], drops: Drops) -> list[Any]:
        return [self._primary.label("key"), data.label("data"), *self._version, *after(self._of, drops or ())]

    def _update(self, match: bool, names: tuple[str, ...], drops: Drops) -> Statement:
        where = self._where(match)
        old, more = before(self._of, drops, where[0], self._dialect) if drops else ([], [])
        found = update(self._of.model).where(*where, *more).values(self._values(names))
        return found.returning(self._primary.label("key"), *self._version, *old, *after(self._of, drops or ()))

    def _delete(self, match: bool, _: tuple[str, ...], drops: Drops) -> Statement:
        found = delete(self._of.model).where(*self._where(match))
        return found.returning(self._primary.label("key"), *self._version, *after(self._of, drops or ()))

    def _where(self, match: bool) -> list[ColumnElement[bool]]:
        return [self._primary == self._key(), *(one_version(self._of.model) if match else [])]

    @property
    def _primary(self) -> Any:
        return self._of.expressions[self._of.primary]

    def _key(self) -> Any:
        return bindparam(KEY, type_=self._primary.type)

    def _values(self, names: tuple[str, ...]) -> Mapping[str, Any]:
        return {name: bindparam(name, type_=self._of.type_of(name)) for name in names}

    def _prepares(self, statement: Statement) -> bool:
        """Whether SQLAlchemy would make values in Python before it sends the statement."""
        made: Any = statement.compile(dialect=self._dialect)
        return bool(made.insert_prefetch or made.update_prefetch)

    def _compiled(
        self, statement: Statement, what: What, note: bool, drops: Drops, more: Callable[[CTE], list[CTE]] | None = None
    ) -> Compiled:
        if not note and drops is None and more is None:
            return compiled(statement, self._dialect)
        written, table = statement.cte("written"), self._of.contract.table
        parts = [noted(written, table, what)] if note else []
        parts += [noting(written, table)] if drops is not None else []
        whole: Select[Any] = select(*written.c).add_cte(*parts, *(more(written) if more else []))
        return compiled(whole, self._dialect)
