"""A path: one index seen as the questions it serves. And the contract: all paths of a table."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from service.contract.question import Sort
from service.contract.search import SearchPath


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an index, as the index keeps it.

    Attributes:
        name: a column or a named expression.
        nulls_first: where the index keeps NULLs; PostgreSQL's own default is first for descending keys, last otherwise.
        nullable: whether the key can be NULL at all.
        text: whether prefixes can be asked of it.
    """

    name: str
    descending: bool = False
    nulls_first: bool = False
    nullable: bool = False
    text: bool = False

    def reversed(self) -> "Key":
        """The same key, met by a scan that goes backward."""
        return replace(self, descending=not self.descending, nulls_first=not self.nulls_first)

    def gives(self, sort: Sort) -> bool:
        """Whether a scan that meets this key so is in the order asked for."""
        return (
            self.name == sort.name
            and self.descending == sort.descending
            and (not self.nullable or self.nulls_first != sort.descending)
        )


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a partial index's predicate: `name = value`, `name IS NULL` (value None), or `name IS NOT NULL` (negated)."""

    name: str
    value: Any = None
    negated: bool = False

    @property
    def present(self) -> bool:
        """Whether the term only says that there is a value."""
        return self.negated and self.value is None


@dataclass(frozen=True)
class Path:
    """One index as the questions it serves.

    Attributes:
        name: the index's name in the database.
        keys: in the index's order.
        unique: no two rows of the index have equal keys (NULLs, if any, apart, unless `nulls_equal`).
        include: names that the index carries besides its keys.
        predicate: terms that all must follow from a question before the index may be used; empty for a whole index.
    """

    name: str
    keys: tuple[Key, ...]
    unique: bool = False
    include: frozenset[str] = frozenset()
    predicate: tuple[Term, ...] = ()
    nulls_equal: bool = False

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of its keys."""
        return frozenset(key.name for key in self.keys)

    @cached_property
    def fixed(self) -> frozenset[str]:
        """Names whose one value the predicate fixes: filters that imply it count as served."""
        return frozenset(term.name for term in self.predicate if not term.negated)

    @cached_property
    def present(self) -> frozenset[str]:
        """Names that the predicate says are not NULL."""
        return frozenset(term.name for term in self.predicate if term.present)

    @cached_property
    def strict(self) -> bool:
        """Whether its keys alone tell any two rows apart."""
        return self.unique and (self.nulls_equal or not any(key.nullable and key.name not in self.present for key in self.keys))


@dataclass(frozen=True)
class Contract:
    """All paths of a table.

    Attributes:
        table: the table's name.
        primary: the names of the primary key.
        paths: in any order.
        default_order: the order of a list when nobody says `sort`; empty: the primary key.
        nullable: names that may be NULL, whether or not an index has them.
        searches: its GIN indexes, apart from the paths: they give no order.
        called: what clients call the table, where that isn't its name.
    """

    table: str
    primary: tuple[str, ...]
    paths: tuple[Path, ...]
    default_order: tuple[Sort, ...] = ()
    nullable: frozenset[str] = frozenset()
    searches: tuple[SearchPath, ...] = ()
    called: str = ""

    @property
    def name(self) -> str:
        """What clients call the table."""
        return self.called or self.table

    def total(self, path: Path) -> bool:
        """Whether a path puts all its rows into one order: its keys end in the primary key, or are strictly unique."""
        return path.strict or tuple(key.name for key in path.keys[-len(self.primary) :]) == self.primary
