"""What a table declares so that files can be imported into it: a shape for its rows, and where their parts go.

    imports = Import(Book, BookImport, key=Book.source_key, keys=("book_id", "isbn13"), source=Book.source)

The shape is a pydantic model. A field that is named as a column fills that column; the other fields serve the shape's validators,
the key or a reference. A field's aliases are the headers it accepts, in order of preference.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self, cast

from pydantic import AliasChoices, BaseModel, ConfigDict
from sqlalchemy import Column, Index, SmallInteger, Table
from sqlalchemy import Integer as IntegerType
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import BigInteger

from service.db import Model, folded, table_of
from service.errors import SetupError


class ImportShape(BaseModel):
    """A row of a file, before it is one of the table. Numbers become text where text is wanted; blank values never arrive."""

    model_config = ConfigDict(
        validate_by_name=True, validate_by_alias=False, str_strip_whitespace=True, coerce_numbers_to_str=True, extra="forbid"
    )


@dataclass(frozen=True)
class Reference:
    """A column that names a row of another table, which is made when it isn't there.

    Attributes:
        field: the shape's field with the name, or with a list of names of which the first counts.
        column: the foreign key, `Book.author_id`.
        name: the other table's column that holds the name, `Author.name`.
        others: under which name the rest of the list is kept among the extras; None: it isn't.
        match: the expression over names on which the other table has a unique index.
    """

    field: str
    column: InstrumentedAttribute[Any]
    name: InstrumentedAttribute[Any]
    others: str | None = None
    match: Callable[[Any], Any] = folded

    @property
    def table(self) -> Table:
        """The table that is referred to."""
        return _table(self.name)

    @property
    def id(self) -> Column[Any]:
        """Its column that the foreign key points at."""
        (key,) = next(iter(_column(self.column).foreign_keys)).column.table.primary_key.columns
        return key


@dataclass(frozen=True)
class Import:
    """How files become rows of a table.

    Attributes:
        model: the table.
        shape: what a row of a file must look like.
        key: the column that tells a file's rows apart; unique, together with `source` if there is one.
        keys: fields of the shape that may give the key, the first that isn't blank counts; without any, a hash of the row does.
        source: the column for the name of the file's origin; None: keys are the table's own.
        extras: the jsonb column that keeps unmapped columns; None: they are left out.
        references: columns that name rows of other tables.

    Raises:
        SetupError: the table has no unique index on source and key, so that a second import couldn't find its rows.
    """

    model: type[Model]
    shape: type[ImportShape]
    key: InstrumentedAttribute[Any]
    keys: tuple[str, ...]
    source: InstrumentedAttribute[Any] | None = None
    extras: InstrumentedAttribute[Any] | None = None
    references: tuple[Reference, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a declaration under which rows couldn't be found again."""
        if self.arbiter is None:
            names = ", ".join(sorted(self.identity))
            raise SetupError(
                f"{self.table.name} can't be imported into: no unique index on {names}. "
                f'Add Index("uq_{self.table.name}_source", {names}, unique=True) to the model.'
            )

    @property
    def table(self) -> Table:
        """The table that rows go to."""
        return table_of(self.model)

    @property
    def identity(self) -> frozenset[str]:
        """Names of the columns that identify a row of a file."""
        return frozenset(attribute.key for attribute in (self.source, self.key) if attribute is not None)

    @property
    def arbiter(self) -> Index | None:
        """The unique index on the identity."""
        unique = (index for index in self.table.indexes if index.unique and not _partial(index))
        return next((index for index in unique if {_name(found) for found in index.expressions} == self.identity), None)

    @property
    def columns(self) -> tuple[Column[Any], ...]:
        """The columns that the shape fills by name."""
        return tuple(self.table.columns[name] for name in self.shape.model_fields if name in self._fillable)

    @property
    def _fillable(self) -> set[str]:
        return set(self.table.columns.keys()) - self.identity - {reference.field for reference in self.references}

    def accepted(self) -> dict[str, tuple[str, ...]]:
        """Each field, and the headers that fill it, in order of preference."""
        return {name: _headers(name, field.validation_alias) for name, field in self.shape.model_fields.items()}

    def required(self) -> tuple[str, ...]:
        """The fields that each row must have."""
        return tuple(name for name, field in self.shape.model_fields.items() if field.is_required())


class Imports(dict[str, Import]):
    """The imports that table files declare, by the names of their tables."""

    @classmethod
    def of(cls, modules: Iterable[ModuleType]) -> Self:
        """All of some modules."""
        return cls(
            (str(value.table.name), value) for module in modules for value in vars(module).values() if isinstance(value, Import)
        )

    def chosen(self, name: str) -> Import:
        """The import into a table.

        Raises:
            SetupError: there is none; the message lists those that exist.
        """
        if name in self:
            return self[name]
        there = f"Files can be imported into: {', '.join(sorted(self))}." if self else "No table declares an import."
        raise SetupError(f"There is no import into {name!r}. {there}")


def limits(column: Column[Any]) -> tuple[int, int] | None:
    """The least and the greatest integer that a column holds; None for other types."""
    if not isinstance(column.type, IntegerType):
        return None
    bits = 63 if isinstance(column.type, BigInteger) else 15 if isinstance(column.type, SmallInteger) else 31
    return -(2**bits), 2**bits - 1


def _headers(name: str, alias: Any) -> tuple[str, ...]:
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return tuple(str(choice) for choice in choices)


def _column(attribute: InstrumentedAttribute[Any]) -> Column[Any]:
    return _table(attribute).columns[attribute.key]


def _table(attribute: InstrumentedAttribute[Any]) -> Table:
    return table_of(cast("type[Model]", attribute.class_))


def _name(expression: Any) -> str | None:
    return expression.name if isinstance(expression, Column) else None


def _partial(index: Index) -> bool:
    return index.dialect_options["postgresql"]["where"] is not None
