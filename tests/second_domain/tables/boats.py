"""Boats: one row for each boat that can be hired."""

# ruff: noqa: A003 - a table's key is called id

import datetime
import decimal

from sqlalchemy import CheckConstraint, Identity, Index, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, Repository, folded
from service.http import Schema, by_database, serve

KINDS = ("canoe", "rowing", "sailing")


class Boat(Model):
    """The table, and the questions it answers."""

    __tablename__ = "boats"
    __table_args__ = (CheckConstraint(f"kind IN {KINDS}", name="kind"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column()
    kind: Mapped[str] = mapped_column(server_default="rowing")
    length: Mapped[decimal.Decimal] = mapped_column(Numeric(5, 2), server_default="4")
    built_on: Mapped[datetime.date | None] = mapped_column()

    unique_name = Index("uq_boats_name", folded(name), unique=True)
    by_kind = Index("ix_boats_by_kind", kind, length.desc(), id.desc())
    newest = Index("ix_boats_newest", built_on.desc().nulls_last(), id.desc())
    default_order = (folded(name), id)


class BoatWrite(Schema):
    """What a client sends."""

    name: str
    kind: str = by_database()
    length: decimal.Decimal = by_database()
    built_on: datetime.date | None = None


class BoatRead(BoatWrite):
    """What a client gets back."""

    id: int


class Boats(Repository[Boat]):
    """Queries with a name. Each one says which index it rides on."""


router = serve(Boats, at="/boats", read=BoatRead, write=BoatWrite)
