"""A table with one column of each type, in a MetaData of its own, so that no migration and no other test sees it."""

# ruff: noqa: A003  # a table's key is called id

import datetime
import decimal
import enum
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import (
    ARRAY,
    Double,
    Enum,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, Repository
from service.db.model import NAMES
from service.http import Schema, by_database


class Apart(Model):
    """Tables of the tests."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMES)


class Mood(enum.Enum):
    """An enum whose values are not its names."""

    CALM = "calm sea"
    WILD = "wild sea"


class Kind(Apart):
    """One column of each type."""

    __tablename__ = "test_kinds"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    small: Mapped[int | None] = mapped_column(SmallInteger)
    medium: Mapped[int | None] = mapped_column(Integer)
    large: Mapped[int | None] = mapped_column()
    number: Mapped[float | None] = mapped_column(Double)
    exact: Mapped[decimal.Decimal | None] = mapped_column(Numeric(12, 3))
    flag: Mapped[bool | None] = mapped_column()
    label: Mapped[str | None] = mapped_column()
    code: Mapped[str | None] = mapped_column(String(5, collation="C"))
    mood: Mapped[Mood | None] = mapped_column(Enum(Mood, name="test_mood"))
    word: Mapped[str | None] = mapped_column(Enum("calm", "wild", name="test_word"))
    day: Mapped[datetime.date | None] = mapped_column()
    clock: Mapped[datetime.time | None] = mapped_column()
    moment: Mapped[datetime.datetime | None] = mapped_column()
    local: Mapped[datetime.datetime | None] = mapped_column(TIMESTAMP(timezone=False))
    span: Mapped[datetime.timedelta | None] = mapped_column(Interval)
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    token: Mapped[uuid.UUID | None] = mapped_column()
    greeting: Mapped[str | None] = mapped_column(server_default="hello")
    document: Mapped[dict[str, Any] | None] = mapped_column()
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    note: Mapped[str] = mapped_column(server_default="none")

    by_small = Index("ix_test_kinds_small", small, id)
    by_medium = Index("ix_test_kinds_medium", medium, id)
    by_large = Index("ix_test_kinds_large", large, id)
    by_number = Index("ix_test_kinds_number", number.asc().nulls_first(), id)
    by_exact = Index("ix_test_kinds_exact", exact, id)
    by_flag = Index("ix_test_kinds_flag", flag, id)
    by_label = Index("ix_test_kinds_label", label, id)
    by_code = Index("ix_test_kinds_code", code, id)
    by_mood = Index("ix_test_kinds_mood", mood, id)
    by_word = Index("ix_test_kinds_word", word, id)
    by_day = Index("ix_test_kinds_day", day, id)
    by_clock = Index("ix_test_kinds_clock", clock, id)
    by_moment = Index("ix_test_kinds_moment", moment, id)
    by_local = Index("ix_test_kinds_local", local, id)
    by_span = Index("ix_test_kinds_span", span, id)
    by_raw = Index("ix_test_kinds_raw", raw, id)
    unique_token = Index("uq_test_kinds_token", token, unique=True)
    by_token = Index("ix_test_kinds_by_token", token, id)
    unique_calm = Index("uq_test_kinds_calm", label, unique=True, postgresql_where=word == "calm")
    wild = Index("ix_test_kinds_wild", id, postgresql_where=word == "wild")
    noted = Index("ix_test_kinds_noted", note, large.desc().nulls_last(), small.asc().nulls_first(), id)


class KindWrite(Schema):
    """What a client sends."""

    small: int | None = None
    medium: int | None = None
    large: int | None = None
    number: float | None = None
    exact: decimal.Decimal | None = None
    flag: bool | None = None
    label: str | None = None
    code: str | None = None
    mood: Mood | None = None
    word: str | None = None
    day: datetime.date | None = None
    clock: datetime.time | None = None
    moment: datetime.datetime | None = None
    local: datetime.datetime | None = None
    span: datetime.timedelta | None = None
    raw: bytes | None = None
    token: uuid.UUID | None = None
    document: dict[str, Any] | None = None
    tags: list[str] | None = None
    note: str = by_database()
    greeting: str | None = by_database()


class KindRead(KindWrite):
    """What a client gets back."""

    id: int


class Kinds(Repository[Kind]):
    """Queries of the table."""


@asynccontextmanager
async def made(engine: AsyncEngine) -> AsyncIterator[None]:
    """The table, for as long as the block lasts."""
    async with engine.begin() as connection:
        await connection.run_sync(Apart.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.run_sync(Apart.metadata.drop_all)
