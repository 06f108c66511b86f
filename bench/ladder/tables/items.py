"""Items: the ladder's table, declared as any table of Shelfmark's is."""

# ruff: noqa: A003 - a table's key is called id

import datetime
import decimal
from typing import Any

from sqlalchemy import Identity, Index, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, Repository
from service.http import Schema, by_database, serve


class Item(Model):
    """The table, and the questions it answers."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    category: Mapped[int] = mapped_column()
    name: Mapped[str] = mapped_column()
    price: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2))
    attrs: Mapped[dict[str, Any]] = mapped_column(server_default="{}")

    by_category = Index("ix_items_by_category", category, id)


class ItemWrite(Schema):
    """What a client sends."""

    category: int
    name: str
    price: decimal.Decimal
    attrs: dict[str, Any] = by_database()


class ItemRead(ItemWrite):
    """What a client gets back."""

    id: int
    created_at: datetime.datetime


class Items(Repository[Item]):
    """Queries of items."""


router = serve(Items, at="/items", read=ItemRead, write=ItemWrite, cached=300)
