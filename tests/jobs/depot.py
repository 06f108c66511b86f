"""A domain that has nothing to do with books: things in a depot, with a rule and two unique values, and whom they belong to."""

import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field
from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Integer, MetaData, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, folded, table_of
from service.jobs.importing import Options, Summary, run_import
from service.jobs.shaping import Import, ImportShape, Reference

METADATA = MetaData(naming_convention=Model.metadata.naming_convention)
HEADER = "nr,code,serial,label,amount,owner\n"


class Depot(Model):
    """Tables beside those that are served and migrated."""

    __abstract__ = True
    metadata = METADATA


class Owner(Depot):
    """Whom a thing belongs to."""

    __tablename__ = "depot_owners"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column()

    unique_name = Index("uq_depot_owners_name", folded(name), unique=True)


class Thing(Depot):
    """A thing in the depot."""

    __tablename__ = "depot_things"
    __table_args__ = (CheckConstraint("amount >= 0", name="amount_positive"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code: Mapped[str | None] = mapped_column()
    serial: Mapped[str | None] = mapped_column()
    label: Mapped[str] = mapped_column()
    amount: Mapped[int] = mapped_column(Integer, server_default="1")
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("depot_owners.id"))
    more: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    origin: Mapped[str] = mapped_column()
    origin_key: Mapped[str] = mapped_column()

    unique_code = Index("uq_depot_things_code", code, unique=True)
    unique_serial = Index("uq_depot_things_serial", folded(serial), unique=True)
    unique_origin = Index("uq_depot_things_origin", origin, origin_key, unique=True)
    by_label = Index("ix_depot_things_label", label)


class ThingImport(ImportShape):
    """What a file may say about a thing."""

    nr: str | None = None
    code: str | None = None
    serial: str | None = None
    label: str = Field(validation_alias=AliasChoices("label", "name"))
    amount: int = 1
    owner: str | None = None


things = Import(
    Thing,
    ThingImport,
    source=Thing.origin,
    key=Thing.origin_key,
    keys=("nr", "code"),
    extras=Thing.more,
    references=(Reference("owner", column=Thing.owner_id, name=Owner.name),),
)


@asynccontextmanager
async def depot(importing_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """The empty tables, for as long as the block runs."""
    async with importing_engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    try:
        yield importing_engine
    finally:
        async with importing_engine.begin() as connection:
            await connection.run_sync(METADATA.drop_all)


async def imported(
    importing_engine: AsyncEngine, path: Path, text: str, source: str = "s", **options: Any
) -> tuple[Summary, dict[int, str]]:
    """Import a text; the summary, and the rejected lines with their reasons."""
    path.write_text(text, encoding="utf-8")  # noqa: ASYNC240 - a test may wait for a small file
    rejects = path.with_suffix(".rejects")
    summary = await run_import(importing_engine, things, path, Options(source=source, rejects=rejects, **options))
    return summary, dict(reasons(rejects))


def reasons(path: Path) -> list[tuple[int, str]]:
    """Lines and reasons of a file of rejects."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(int(row["line"]), row["reason"]) for row in csv.DictReader(file)]


async def stored(importing_engine: AsyncEngine, *columns: str) -> dict[str, tuple[Any, ...]]:
    """What is in the table: these columns of each row, by `origin/key`."""
    table = table_of(Thing)
    async with importing_engine.connect() as connection:
        found = await connection.execute(select(table))
        return {f"{row.origin}/{row.origin_key}": tuple(getattr(row, column) for column in columns) for row in found}


def counts(summary: Summary) -> tuple[int, int, int, int, int]:
    """Read, inserted, updated, unchanged, rejected."""
    return summary.read, summary.inserted, summary.updated, summary.unchanged, summary.rejected
