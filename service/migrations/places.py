"""Where an index belongs, what it is called while it is being built or dropped, and how a migration and SQL say so."""

import hashlib
import textwrap
from dataclasses import dataclass

from service.db.catalogue import BUILDING, DROPPING
from service.db.surface import DIALECT
from service.migrations.definitions import Definition

QUOTE = DIALECT.identifier_preparer.quote
HASH_CHARACTERS = 12
LINE_CHARACTERS = 100


def left_behind(name: str) -> bool:
    """Whether a name is one that an index has only while a migration runs."""
    return name.startswith((BUILDING, DROPPING))


@dataclass(frozen=True, slots=True)
class Place:
    """A table, in whose schema its indexes live; without a schema, the default one."""

    table: str
    schema: str | None = None

    def __str__(self) -> str:
        return self.quoted(self.table)

    def quoted(self, name: str) -> str:
        """A table or an index of the schema, for SQL."""
        return ".".join(QUOTE(part) for part in (self.schema, name) if part)

    def building(self, name: str) -> str:
        """What an index is called that is to take this one's place."""
        return f"{BUILDING}{self._mark(name)}"

    def dropping(self, name: str) -> str:
        """What this index is called once it's on its way out."""
        return f"{DROPPING}{self._mark(name)}"

    def creation(self, name: str, definition: Definition, *, concurrently: bool = False) -> str:
        """The statement that builds an index."""
        kind = f"{'UNIQUE ' if definition.unique else ''}INDEX{' CONCURRENTLY' if concurrently else ''}"
        return f"CREATE {kind} {QUOTE(name)} ON {self} USING {definition.words}"

    def renaming(self, old: str, new: str, *, if_exists: bool = False) -> str:
        """The statement that gives an index another name."""
        return f"ALTER INDEX {'IF EXISTS ' if if_exists else ''}{self.quoted(old)} RENAME TO {QUOTE(new)}"

    def _mark(self, name: str) -> str:
        """The same at each run, so that a second one finds what a first one left."""
        return hashlib.sha256(f"{self.table}.{name}".encode()).hexdigest()[:HASH_CHARACTERS]


def call(verb: str, place: Place, *names: str, definition: Definition | None = None) -> str:
    """A line of a migration: the names, the table, the words, and what differs from the usual."""
    given = [repr(str(name)) for name in (*names, place.table)]
    if definition:
        given.append(_lines(definition.words))
        given.extend(["unique=True"] if definition.unique else [])
    if place.schema:
        given.append(f"schema={str(place.schema)!r}")
    return f"op.{verb}({', '.join(given)})"


def _lines(words: str) -> str:
    """Long words on several lines, as no formatter would break them."""
    if len(words) <= LINE_CHARACTERS:
        return repr(words)
    pieces = textwrap.wrap(words, LINE_CHARACTERS, drop_whitespace=False, replace_whitespace=False, expand_tabs=False)
    return "\n".join(repr(piece) for piece in pieces)
