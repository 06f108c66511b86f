"""Rows as clients see them: the members of the read shape, narrowed by `fields`, with relations embedded by `include`."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, QueryableAttribute, RelationshipDirection

from service.db import Model
from service.db.rendering import is_respelt
from service.db.wire import clock
from service.errors import SetupError
from service.http.confining import Rows
from service.http.schema import Schema, is_plain

NOTHING: Mapping[str, Rows] = {}


@dataclass(frozen=True, slots=True)
class Relation:
    """A many-to-one relation that may be embedded.

    Attributes:
        keys: the columns of this table that refer to the other.
    """

    attribute: QueryableAttribute[Any]
    shape: type[Schema]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Showing:
    """How the rows of one table are shown."""

    shape: type[Schema]
    plain: bool
    members: tuple[str, ...]
    relations: Mapping[str, Relation]
    respelt: frozenset[str] = frozenset()
    """Members that PostgreSQL writes in other bytes than Python."""

    @classmethod
    def of(cls, model: type[Model], shape: type[Schema], include: Mapping[str, type[Schema]]) -> "Showing":
        """How rows of a model are shown in a shape.

        Raises:
            SetupError: something to include isn't a many-to-one relationship.
        """
        mapper: Mapper[Any] = inspect(model)
        key = inspect(model).primary_key[0].key
        members = tuple(sorted(shape.model_fields, key=lambda name: name != key))  # what a row is called by comes first
        plain = is_plain(shape) and set(members).issubset(mapper.column_attrs.keys())
        relations = {name: _relation(mapper, name, shape) for name, shape in include.items()}
        return cls(shape, plain, members, relations, frozenset(name for name in members if plain and _is_respelt(mapper, name)))

    def columns(self, fields: Sequence[str] | None, include: Sequence[str]) -> list[str] | None:
        """The columns that must be loaded to show these members; None for all of them."""
        if not self.plain:
            return None
        keys = [key for name in include for key in self.relations[name].keys]
        return list(dict.fromkeys((*(fields or self.members), *keys)))

    def attributes(self, include: Sequence[str]) -> list[QueryableAttribute[Any]]:
        """The relationships behind the names in `include`."""
        return [self.relations[name].attribute for name in include]

    def row(self, row: Any, fields: Sequence[str] | None = None, include: Mapping[str, Rows] = NOTHING) -> dict[str, Any]:
        """A row as a dictionary, ready to be rendered.

        Args:
            row: what was loaded.
            fields: the members wanted; all where None.
            include: relation -> those of its rows that may be shown; others are as missing as if there were none.
        """
        shown = _shown(self.shape, self.plain, row, fields or self.members)
        for name, rows in include.items():
            shape, other = self.relations[name].shape, getattr(row, name)
            seen = other is not None and not rows.hide(other)
            shown[name] = _shown(shape, plain=False, row=other, fields=tuple(shape.model_fields)) if seen else None
        return shown


def _is_respelt(mapper: Mapper[Any], name: str) -> bool:
    return is_respelt(mapper.column_attrs[name].columns[0].type)


def _shown(shape: type[Schema], plain: bool, row: Any, fields: Sequence[str]) -> dict[str, Any]:
    if plain:  # the database's values are the shape's: there is nothing to validate
        return _ready(shape, {name: getattr(row, name) for name in fields})
    whole = shape.model_validate(row).model_dump()
    return _ready(shape, {name: whole[name] for name in fields})


def _ready(shape: type[Schema], values: dict[str, Any]) -> dict[str, Any]:
    for name in _clocks(shape):
        if isinstance(values.get(name), datetime.time):
            values[name] = clock(values[name])
    return values


@cache
def _clocks(shape: type[Schema]) -> tuple[str, ...]:
    """The members that are times of day."""
    fields = shape.model_fields.items()
    return tuple(name for name, field in fields if datetime.time in {field.annotation, *get_args(field.annotation)})


def _relation(mapper: Mapper[Any], name: str, shape: type[Schema]) -> Relation:
    relationship = mapper.relationships.get(name)
    if relationship is None or relationship.direction is not RelationshipDirection.MANYTOONE:
        raise SetupError(
            f"include={name} needs a many-to-one relationship() of that name on {mapper.class_.__name__}: a list inside "
            "each row has no bound. Serve the other table instead, with an index that leads with its foreign key."
        )
    keys = tuple(mapper.get_property_by_column(column).key for column in relationship.local_columns)
    return Relation(getattr(mapper.class_, name), shape, keys)
