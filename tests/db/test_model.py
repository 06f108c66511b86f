"""What every table shares, and an index that would be lost is refused when the class is defined."""

import pytest
from sqlalchemy import Identity, Index, MetaData
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model
from service.db.model import NAMES, table_of
from service.errors import SetupError
from service.tables.authors import Author


class Lost(Model):
    """Tables of this module, apart from all others."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMES)


def test_text_is_in_the_order_of_code_points() -> None:
    assert Author.__table__.c.name.type.collation == "C"  # type: ignore[attr-defined]


def test_every_table_has_its_times_and_its_version() -> None:
    assert list(Author.__table__.c.keys())[-3:] == ["created_at", "updated_at", "version"]


def test_constraints_have_names() -> None:
    assert table_of(Author).primary_key.name == "pk_authors"


def test_an_index_made_of_names_is_refused() -> None:
    with pytest.raises(SetupError, match=r"ix_lost_code.*belongs to no table"):

        class Named(Lost):
            __tablename__ = "test_lost_named"
            id: Mapped[int] = mapped_column(Identity(), primary_key=True)
            code: Mapped[str] = mapped_column()
            by_code = Index("ix_lost_code", "code", "id")


def test_an_index_in_a_mixin_is_refused() -> None:
    class Mixin:
        code: Mapped[str] = mapped_column()
        by_code = Index("ix_lost_mixed", "code")

    with pytest.raises(SetupError, match="ix_lost_mixed"):

        class Mixed(Mixin, Lost):
            __tablename__ = "test_lost_mixed"
            id: Mapped[int] = mapped_column(Identity(), primary_key=True)
