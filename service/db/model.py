"""What every table shares: names for its constraints, column types, timestamps, and a row version that PostgreSQL keeps.

A table file declares `id` and every column that its indexes name; the columns here come after them. The version grows by one at
each change of a row, whoever makes it, by a trigger that the generated migration carries (`service/migrations/`).
"""

import datetime
import decimal
import uuid
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    FetchedValue,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
    collate,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.errors import SetupError

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Model(DeclarativeBase):
    """A table, with its indexes as named class attributes.

    Text is `COLLATE "C"`, so that order and prefixes don't depend on where the database was made; numbers are 64 bits wide; times
    carry their zone.

    Raises:
        SetupError: when the class is defined, if one of its indexes would be silently dropped by SQLAlchemy.
    """

    __abstract__ = True
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012  # SQLAlchemy's own name and type

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(collation="C"),
        int: BigInteger(),
        bytes: LargeBinary(),
        datetime.date: Date(),
        datetime.datetime: DateTime(timezone=True),
        decimal.Decimal: Numeric(),
        uuid.UUID: Uuid(),
        dict[str, Any]: JSONB(none_as_null=True),  # a member that is null means NULL, as in any other column
    }

    default_order: ClassVar[tuple[Any, ...]] = ()
    """The order of a list when nobody says `sort=`; empty: the primary key."""
    called: ClassVar[str] = ""
    """What clients call the table, where that isn't its name."""

    created_at: Mapped[datetime.datetime] = mapped_column(server_default=func.clock_timestamp(), sort_order=100)
    updated_at: Mapped[datetime.datetime] = mapped_column(
        server_default=func.clock_timestamp(), server_onupdate=FetchedValue(), sort_order=101
    )
    version: Mapped[int] = mapped_column(server_default="1", server_onupdate=FetchedValue(), sort_order=102)

    def __init_subclass__(cls, **options: Any) -> None:
        order = cls.__dict__.get("default_order", ())
        cls.default_order = ()  # SQLAlchemy takes a tuple of one column for a slip of the keyboard
        super().__init_subclass__(**options)
        cls.default_order = order
        if not cls.__dict__.get("__abstract__"):
            _keep_every_index(cls)


def _keep_every_index(model: type[Model]) -> None:
    """Refuse an index that SQLAlchemy would drop without a word."""
    for owner in model.__mro__:
        for attribute, value in vars(owner).items():
            if isinstance(value, Index) and value.table is not model.__table__:
                raise SetupError(
                    f"{model.__name__}.{attribute} ({value.name}) belongs to no table and would be silently dropped. Declare it "
                    f"in the body of {model.__name__} itself, and make it of columns, not of their names: "
                    f"Index({value.name!r}, title), not Index({value.name!r}, 'title')."
                )


def table_of(model: type[Model]) -> Table:
    """The table behind a model, typed as one."""
    if not isinstance(model.__table__, Table):
        raise SetupError(f"{model.__name__} isn't mapped to a table of its own.")
    return model.__table__


def folded(text: Any) -> ColumnElement[str]:
    """Text without its case, for an index, a filter or a search: the database folds it, order stays that of code points.

    lower() of a column in collation "C" would fold ASCII only; hence the database's own collation inside.
    """
    return func.lower(collate(text, "default"), type_=Text()).collate("C")
