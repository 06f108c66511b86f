"""A DELETE route exists only where every foreign key that refers to the table leads a whole index."""

# ruff: noqa: A003 - a table's key is called id

from types import new_class

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import ForeignKey, Identity, Index, MetaData
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, Repository
from service.http import Schema, serve
from service.http.serve import Routes


class Harbour(Model):
    """Tables beside those that are served and migrated."""

    __abstract__ = True
    metadata = MetaData()


class Pier(Harbour):
    """Two tables refer to it, one of them without an index."""

    __tablename__ = "test_piers"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)


class Berth(Harbour):
    """Refers to a pier, and nobody can find out quickly which do."""

    __tablename__ = "test_berths"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    pier_id: Mapped[int] = mapped_column(ForeignKey("test_piers.id"))


class Lamp(Harbour):
    """Refers to a berth, by an index."""

    __tablename__ = "test_lamps"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    berth_id: Mapped[int] = mapped_column(ForeignKey("test_berths.id"))
    of_berth = Index("ix_test_lamps_of_berth", berth_id, id)


class Numbered(Schema):
    """What a client sends and gets back."""

    id: int


def routes(model: type[Harbour], *, writable: bool) -> Routes:
    """The routes of a table, once every table is known."""
    repository: type[Repository[Harbour]] = new_class("Planted", (Repository[model],))  # type: ignore[valid-type]
    made = serve(repository, at="/planted", read=Numbered, write=Numbered if writable else None)
    made.settle()
    made.settle()
    return made


@pytest.mark.parametrize(("model", "writable", "deletes"), [(Pier, True, 0), (Berth, True, 1), (Lamp, True, 1), (Berth, False, 0)])
def test_rows_can_be_deleted_where_no_scan_follows(model: type[Harbour], writable: bool, deletes: int) -> None:
    found = [route.name for route in routes(model, writable=writable).routes if isinstance(route, APIRoute)]
    assert found.count(f"{model.__tablename__}_delete") == deletes


def test_it_says_which_index_would_bring_the_route() -> None:
    (said,) = routes(Pier, writable=True).undeletable()
    assert said == (
        "test_berths.pier_id refers to test_piers and leads no whole index: each delete would scan test_berths, so test_piers has "
        'no DELETE route. Give test_berths this index: Index("ix_test_berths_pier_id", pier_id, id)'
    )
    assert routes(Pier, writable=False).undeletable() == routes(Berth, writable=True).undeletable() == []
