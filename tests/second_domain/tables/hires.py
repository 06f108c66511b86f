"""Hires: one row for each time a boat goes out; open until it is back."""

# ruff: noqa: A003 - a table's key is called id; imports are of the place where this file goes

import datetime
import decimal

from pydantic import AliasChoices, Field
from sqlalchemy import ForeignKey, Identity, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.db import Model, Repository, folded
from service.http import Schema, by_database, serve
from service.jobs.shaping import Import, ImportShape, Reference
from service.tables.boats import Boat, BoatRead  # type: ignore[import-not-found]


class Hire(Model):
    """The table, and the questions it answers."""

    __tablename__ = "hires"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    boat_id: Mapped[int] = mapped_column(ForeignKey("boats.id"))
    customer: Mapped[str] = mapped_column()
    hired_on: Mapped[datetime.date] = mapped_column()
    hours: Mapped[decimal.Decimal] = mapped_column(Numeric(6, 2))
    deposit: Mapped[decimal.Decimal | None] = mapped_column(Numeric(8, 2))
    returned_at: Mapped[datetime.datetime | None] = mapped_column()
    source: Mapped[str] = mapped_column(server_default="api")
    ticket: Mapped[str] = mapped_column(server_default=text("gen_random_uuid()::text"))

    boat: Mapped[Boat] = relationship(lazy="raise")

    unique_ticket = Index("uq_hires_ticket", source, ticket, unique=True)
    unique_out = Index("uq_hires_out", boat_id, unique=True, postgresql_where=returned_at.is_(None))
    out = Index("ix_hires_out", hired_on, id, postgresql_where=returned_at.is_(None))
    of_boat = Index("ix_hires_of_boat", boat_id, hired_on.desc(), id.desc())
    of_customer = Index("ix_hires_of_customer", folded(customer), hired_on.desc(), id.desc())
    default_order = (hired_on.desc(), id.desc())


class HireWrite(Schema):
    """What a client sends."""

    boat_id: int
    customer: str
    hired_on: datetime.date
    hours: decimal.Decimal
    deposit: decimal.Decimal | None = None
    returned_at: datetime.datetime | None = None
    source: str = by_database()
    ticket: str = by_database()


class HireRead(HireWrite):
    """What a client gets back."""

    id: int


class HireImport(ImportShape):
    """What a file may say about a hire."""

    number: str = Field(validation_alias=AliasChoices("ticket", "number"))
    boat: str = Field(min_length=1)
    customer: str = Field(min_length=1, validation_alias=AliasChoices("customer", "name"))
    hired_on: datetime.date = Field(validation_alias=AliasChoices("date", "hired_on"))
    hours: decimal.Decimal = Field(gt=0)
    deposit: decimal.Decimal | None = Field(None, ge=0)
    returned_at: datetime.datetime | None = None


imports = Import(
    Hire,
    HireImport,
    source=Hire.source,
    key=Hire.ticket,
    keys=("number",),
    references=(Reference("boat", column=Hire.boat_id, name=Boat.name),),
)


class Hires(Repository[Hire]):
    """Queries with a name. Each one says which index it rides on."""


router = serve(Hires, at="/hires", read=HireRead, write=HireWrite, include={"boat": BoatRead})
