"""Names in Redis: of what is kept, and of the tags under which it is valid.

A row has a tag; so has every list, by the values that its question fixes: all lists of author 7 have one tag, all lists that fix
nothing have another. A write knows the tags of the lists that its row was in, and of those that it is in now, from the row's old
and new values. And each table has one tag, for what changes too much to be counted. Names are hashed: they tell nobody what was
asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import BigInteger, Boolean, Date, Integer, SmallInteger, String, Text, Uuid

from service.contract.choose import Choice
from service.contract.path import Path
from service.contract.question import Question
from service.db import Surface
from service.db.drops import Values
from service.errors import SetupError

PREFIX = b"shelf:"
PLAIN = {BigInteger, Boolean, Date, Integer, SmallInteger, String, Text, Uuid}
"""Types whose values are equal in Python exactly if they are in PostgreSQL, and look the same wherever they come from."""
EXACT = {None, "C", "POSIX", "default"}
"""Collations under which texts are equal only if their bytes are."""
ACTS = ("CASCADE", "SET NULL", "SET DEFAULT")
"""What foreign keys may do to the rows that refer to others."""
NAME_BYTES = 12
Scope = tuple[str, ...]
"""The columns whose values tell lists apart that a write doesn't meet; none: each write meets them."""


class Names:
    """The names of one database's keys. They depend on nothing else: whoever writes must know what others have kept.

    Args:
        database: what tells it from others that share the Redis.

    Attributes:
        prefix: of all of them.
        epoch: under which all is valid.
        run: in which run of Redis it began.
        layouts: how the processes arrange what they keep.
    """

    def __init__(self, database: str) -> None:
        self.prefix = PREFIX + self._hashed(database.encode()).hex()[:12].encode() + b":"
        self.epoch, self.run, self.layouts = (self.prefix + name for name in (b"epoch", b"run", b"layouts"))

    def entry(self, of: bytes, arguments: Sequence[Any]) -> bytes:
        """Where the answer to a question is kept.

        Args:
            of: what it has in common with others of its shape.
            arguments: its values.
        """
        return self.prefix + b"e" + self._hashed(of, repr(arguments).encode("utf-8", "surrogatepass"))

    def table(self, table: str) -> bytes:
        """The tag of all that is kept of a table."""
        return self.prefix + b"t:" + table.encode()

    def row(self, table: str, key: Any) -> bytes:
        """The tag of a row."""
        return self.prefix + b"r" + self._hashed(table.encode(), repr(key).encode("utf-8", "surrogatepass"))

    def lists(self, table: str, scope: Scope, values: Values) -> bytes:
        """The tag of the lists that fix these values."""
        fixed = repr([(name, values[name]) for name in scope])
        return self.prefix + b"s" + self._hashed(table.encode(), fixed.encode("utf-8", "surrogatepass"))

    def _hashed(self, *parts: bytes) -> bytes:
        return blake2b(b"\0".join(parts), digest_size=NAME_BYTES).digest()


@dataclass(frozen=True)
class Kept:
    """What is kept of a table.

    Attributes:
        seconds: for how long, at the most.
        scopes: by which columns' values its lists are told apart, but for those of which each write is a part.
        columns: all of these.
    """

    table: str
    primary: str
    seconds: float
    scopes: tuple[Scope, ...]
    columns: tuple[str, ...]

    @classmethod
    def of(cls, of: Surface, seconds: float) -> "Kept":
        """What is kept of a table's answers.

        Args:
            of: what clients may ask.
            seconds: for how long.

        Raises:
            SetupError: one row can be meant by keys that look different, or the database changes rows by itself.
        """
        acting = [key.parent for key in of.model.__table__.foreign_keys if _acts(key.ondelete) or _acts(key.onupdate)]
        if acting:
            raise SetupError(
                f"{of.contract.table} can't be cached: PostgreSQL changes its rows by itself, by the key of {acting[0]}, and "
                "tells nobody. Leave out cached=, or ondelete= and onupdate=."
            )
        if not _is_plain(of.type_of(of.primary), of.primary):
            raise SetupError(
                f"{of.contract.table} can't be cached: its primary key {of.primary} is no number, text, UUID or date whose equal "
                "values all look the same. Leave out cached=."
            )
        scopes = dict.fromkeys(scope for path in of.contract.paths if (scope := _scope(of, path)))
        return cls(
            of.contract.table, of.primary, seconds, tuple(scopes), tuple(dict.fromkeys(name for one in scopes for name in one))
        )

    def tags(self, names: Names, question: Question, choice: Choice) -> list[bytes]:
        """The tags of a list."""
        scope = self._scope_of(question, choice)
        found = [names.table(self.table)]
        if not scope:
            return [*found, names.lists(self.table, (), {})]
        among = question.among.get(scope[0])
        if among is not None:
            return [*found, *(names.lists(self.table, scope, {scope[0]: value}) for value in among)]
        return [*found, names.lists(self.table, scope, question.equals)]

    def written(self, names: Names, key: Any, values: Mapping[str, Any]) -> Iterator[bytes]:
        """The tags of a row, and of the lists that it is in, by its values."""
        yield names.row(self.table, key)
        yield names.lists(self.table, (), {})
        for scope in self.scopes:
            yield names.lists(self.table, scope, values)

    def _scope_of(self, question: Question, choice: Choice) -> Scope:
        """The scope whose values a question fixes."""
        for names in (choice.path.keys, choice.path.keys[:1]):
            scope = tuple(sorted(key.name for key in names))
            if scope in self.scopes and (question.equals.keys() >= set(scope) or scope == tuple(question.among)):
                return scope
        return ()


def _scope(of: Surface, path: Path) -> Scope:
    """By which values the lists along a path are told apart: all keys where they make a row unique, else the first one."""
    names = sorted(key.name for key in (path.keys if path.unique else path.keys[:1]))
    return tuple(names) if all(map(_is_plain, map(of.type_of, names), names)) else ()


def _acts(said: str | None) -> bool:
    """Whether a foreign key changes rows by itself, in whichever way that was written: `set null (author_id)`."""
    return " ".join((said or "").upper().split()).startswith(ACTS)


def _is_plain(kind: Any, name: str) -> bool:
    exact = getattr(kind, "collation", None) in EXACT and getattr(kind, "as_uuid", True)
    return type(kind) in PLAIN and "__" not in name and exact
