"""The items mapped as one maps them without this service: what the ORM's contestants share."""

import datetime
import decimal
import os
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime, Numeric, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

POOL = 10


class Mapping(DeclarativeBase):
    """What is mapped here."""


class Item(Mapping):
    """The ladder's table."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[int] = mapped_column()
    name: Mapped[str] = mapped_column()
    price: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2))
    created_at: Mapped[datetime.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    attrs: Mapped[dict[str, Any]] = mapped_column(JSONB)


class ItemIn(BaseModel):
    """What a client sends."""

    category: int
    name: str
    price: decimal.Decimal
    attrs: dict[str, Any] = {}


class ItemOut(ItemIn):
    """What a client gets back."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    created_at: datetime.datetime


def sessions() -> Any:
    """A dependency that gives each request a session, over a pool of its own."""
    engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=POOL, max_overflow=0)
    make = async_sessionmaker(engine, expire_on_commit=False)

    async def session() -> AsyncIterator[AsyncSession]:
        async with make() as made:
            yield made

    return session
