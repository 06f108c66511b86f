"""The rows that a key is confined to: what of a table is there at all for its bearer.

`serve(Loans, within="member_id")` lets a key that was made `--within member_id=7` see and change that member's loans only, as if no
others existed. Every list gets the equality, and is served only where an index serves it with that; a row of another's is as
missing as one that never was; what is written must have the value. A table that doesn't say by which column its rows can be
confined is closed to such keys.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import orjson
from fastapi import Request
from sqlalchemy import inspect, select

from service.contract.question import Question
from service.contract.served import served
from service.db import Database, Model, Surface, surface
from service.db.model import table_of
from service.db.version import WHICHEVER, Match, Version, columns_of
from service.db.wire import wire
from service.errors import NotFound, SetupError
from service.http.callers import Caller, caller_of
from service.http.scopes import confined, needed

READING = "GET"
EVERY_ROW: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that a request may see and change.

    Attributes:
        caller: who asks.
        values: column -> the value that rows must have; empty: every row.
    """

    caller: Caller
    values: Mapping[str, Any]

    def __bool__(self) -> bool:
        """Whether there are rows that it may not see."""
        return bool(self.values)

    def question(self, asked: Question) -> Question:
        """A question of these rows only.

        Raises:
            Forbidden: it asks for others.
        """
        if not self.values:
            return asked
        self.check(asked.equals)
        return replace(asked, equals={**asked.equals, **self.values})

    def check(self, sent: Mapping[str, Any]) -> None:
        """Refuse what speaks of others' rows.

        Args:
            sent: column -> value, as far as it was sent.

        Raises:
            Forbidden: a value is another one.
        """
        wrong = [name for name, value in self.values.items() if sent.get(name, value) != value]
        if wrong:
            raise confined(self.caller, f"Leave out {' and '.join(wrong)}, or send that.")

    def placed(self, sent: dict[str, Any], primary: str) -> dict[str, Any]:
        """A new row's values, placed among these rows.

        Raises:
            Forbidden: it wouldn't be one of them, or there can be no other.
        """
        self.check(sent)
        if primary in self.values:
            raise confined(self.caller, "That is a single row, so it can't create others.")
        return {**sent, **self.values}

    def hide(self, row: Any) -> bool:
        """Whether a row is none of these."""
        return any(getattr(row, name) != value for name, value in self.values.items())

    def bound(self, question: bytes) -> bytes:
        """What a cursor is bound to: also the rows that it leads through."""
        return question + orjson.dumps(sorted(self.caller.within.items())) if self.values else question


@dataclass(frozen=True)
class Confining:
    """By what keys can be confined to a part of one table.

    Attributes:
        columns: what keys name -> the table's column.
        of: what a confined question is put to: what clients see, and these columns.
        own: whether keys without the table's scopes are confined to what they have asked for, instead of being refused.
    """

    model: type[Model]
    columns: Mapping[str, str]
    of: Surface
    own: ClassVar[bool] = False

    @classmethod
    def by(cls, model: type[Model], within: str | Mapping[str, str] | None, visible: frozenset[str]) -> Self:
        """As a table's file says it.

        Raises:
            SetupError: there is no such column, no text can spell its values, or no index leads to its rows.
        """
        columns = {within: within} if isinstance(within, str) else dict(within or {})
        whole = surface(model)
        for column in columns.values():
            if column not in whole.expressions or wire(whole.type_of(column)) is None:
                raise SetupError(f"within={column!r}: {model.__name__} has no such column, or one whose values no key can name.")
        made = cls(model, columns, whole.of(visible | frozenset(columns.values())))
        for column in columns.values():
            if not any(column in one.equals for one in served(made.of.contract)):
                raise SetupError(
                    f"within={column!r}: no index of {model.__tablename__} leads with it, so a key confined by it could list "
                    f'nothing. Add one: Index("ix_{model.__tablename__}_of_{column}", {column}, {made.of.primary})'
                )
        return made

    def rows(self, caller: Caller, method: str) -> Rows:
        """The rows that a caller may see or change.

        Raises:
            Forbidden: the key is confined by something that the table doesn't know, or to a value that no row can have.
        """
        if not caller.within:
            return Rows(caller, EVERY_ROW)
        table = table_of(self.model).name
        lacking = [name for name in caller.within if name not in self.columns]
        if lacking and not needed(table, method).open_to(caller.public):
            raise confined(caller, f"Rows of {table} have no {' and '.join(lacking)}, so it would see all of them.")
        return Rows(caller, {self.columns[name]: self._value(caller, name) for name in caller.within if name in self.columns})

    def _value(self, caller: Caller, name: str) -> Any:
        form = wire(self.of.type_of(self.columns[name]))
        try:
            return form.parse(caller.within[name]) if form else None
        except ValueError:
            raise confined(caller, f"No row of {table_of(self.model).name} can have that value.") from None

    async def hold(self, database: Database, key: Any, rows: Rows, match: Match = WHICHEVER) -> None:
        """Make sure that a row is one of those that may be changed, and stays as it is until the unit of work changes it.

        Raises:
            NotFound: it isn't, or there is none.
            PreconditionFailed: it is in none of the states that are asked for.
        """
        primary = getattr(self.model, self.of.primary)
        theirs = [getattr(self.model, name) == value for name, value in rows.values.items()]
        async with database.writing() as unit:
            found = select(*columns_of(self.model)).where(primary == key, *theirs).with_for_update(key_share=True)
            version = (await unit.session.execute(found)).one_or_none()
            if version is None:
                raise missing(self.of.contract.name, key)
            match.check(Version(*version))

    def related(self, caller: Caller, names: Sequence[str]) -> dict[str, Rows]:
        """Relation -> its rows that may be shown within a row of this table.

        Raises:
            Forbidden: the caller may not read the other table.
        """
        others: list[tuple[str, type[Model]]] = [(name, inspect(self.model).relationships[name].mapper.class_) for name in names]
        for _, other in others:
            if other in DECLARED:
                needed(table_of(other).name, READING).check(caller)
        return {name: DECLARED.get(other, Confining(other, {}, surface(other))).rows(caller, READING) for name, other in others}


DECLARED: dict[type[Model], Confining] = {}
"""What the tables that are served say of themselves."""


def rows_of(model: type[Model]) -> Callable[[Request], Rows]:
    """A dependency for routes of one's own: the rows of a table that the request may see and change."""

    def found(request: Request) -> Rows:
        return DECLARED[model].rows(caller_of(request.scope), request.method)

    return found


def missing(table: str, key: Any) -> NotFound:
    """The problem of a row that isn't there, or not for this caller: one can't be told from the other."""
    said = key if isinstance(key, str | int | float) else str(key)
    return NotFound(f"There is no {said!r} in {table}. It may have been deleted.")
