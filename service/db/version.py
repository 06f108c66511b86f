"""The version of a row, as PostgreSQL keeps it, and what a write may ask of it.

Two columns tell the states of a row apart: `version`, which grows by one at each change, and `updated_at`. A row that was deleted
and made anew under the same key, or brought back from a backup, counts from where it began; the time tells it from the other.
"""

import datetime
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, false, tuple_

from service.db.model import Model
from service.errors import PreconditionFailed

NUMBER, CHANGED_AT = "__version", "__updated_at"
"""The names of what a statement takes that is meant for one version: no column's."""
VERSION = ("version", "updated_at")
"""What a statement gives of a row so that its version is known, in this order."""
CHANGED = (
    "This row isn't in the state that If-Match or If-None-Match asks for: somebody may have changed it. Nothing was written. Get "
    "it again, and decide anew."
)


class Version(NamedTuple):
    """Which state of a row: its version, and when it came about."""

    number: int
    changed_at: datetime.datetime


def version_of(row: Model) -> Version:
    """The version of a row that was loaded."""
    return Version(row.version, row.updated_at)


def columns_of(model: type[Model]) -> tuple[Any, Any]:
    """The columns that are a row's version."""
    return model.version, model.updated_at


def one_version(model: type[Model]) -> list[ColumnElement[bool]]:
    """What holds for a row of the version that is bound as `NUMBER` and `CHANGED_AT`."""
    names = (NUMBER, CHANGED_AT)
    return [column == bindparam(name, type_=column.type) for column, name in zip(columns_of(model), names, strict=True)]


@dataclass(frozen=True, slots=True)
class Match:
    """Which states of a row a write is meant for.

    Attributes:
        any_of: the row must be in one of them; None: in whichever.
        none_of: it must be in none of them.
        absent: there must be no row at all.
    """

    any_of: tuple[Version, ...] | None = None
    none_of: tuple[Version, ...] = ()
    absent: bool = False

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return self.any_of is not None or bool(self.none_of) or self.absent

    @property
    def one(self) -> Version | None:
        """The one version that is asked for; None where more, less or something else is."""
        alone = self.any_of is not None and len(self.any_of) == 1 and not self.none_of and not self.absent
        return self.any_of[0] if self.any_of and alone else None

    def conditions(self, model: type[Model]) -> list[ColumnElement[bool]]:
        """The same, for a statement of one's own."""
        state = tuple_(*columns_of(model))
        return [
            *([] if self.any_of is None else [state.in_(self.any_of) if self.any_of else false()]),
            *([state.not_in(self.none_of)] if self.none_of else []),
            *([false()] if self.absent else []),
        ]

    def check(self, version: Version) -> None:
        """Refuse a row that is in another state.

        Raises:
            PreconditionFailed: it is.
        """
        wanted = self.any_of is None or version in self.any_of
        if not wanted or version in self.none_of or self.absent:
            raise PreconditionFailed(CHANGED)


WHICHEVER = Match()
"""Asks nothing."""
