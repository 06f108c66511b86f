"""Writes of one statement: compiled once, noted in the same statement, and left alone where Python has to make a value."""

import uuid

from sqlalchemy import Double, Identity, MetaData, Text
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, surface
from service.db.writing import KEY, Writing
from service.tables.authors import Author

DIALECT = dialect()  # type: ignore[no-untyped-call]


class Thing(Model):
    """A table with a value that Python makes, in a MetaData of its own."""

    __tablename__ = "test_things"
    metadata = MetaData()

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)  # a table's key is called id
    name: Mapped[str] = mapped_column(Text)
    code: Mapped[str] = mapped_column(Text, default=lambda: str(uuid.uuid4()))
    weight: Mapped[float] = mapped_column(Double)


def writing(*columns: str) -> Writing:
    """The writes of authors."""
    return Writing(surface(Author), columns or ("id", "name"), DIALECT)


def test_one_statement_gives_the_key_and_the_row() -> None:
    made = writing().create(("name",), note=False)
    assert made
    assert made.sql.count(";") == 0
    assert made.sql.startswith("INSERT INTO authors (name) VALUES ($1::")
    assert made.arguments({"name": "Ada"}) == ["Ada"]


def test_a_shape_is_compiled_once() -> None:
    of = writing()
    assert of.create(("name",), note=False) is of.create(("name",), note=False)
    assert of.create(("name",), note=False) is not of.create(("name",), note=True)
    assert of.delete(note=False) is of.delete(note=False)


def test_what_is_noted_is_part_of_it() -> None:
    of = writing()
    for made in (of.create(("name",), note=True), of.change(("name",), note=True), of.delete(note=True)):
        assert made
        assert made.sql.startswith("WITH written AS")
        assert "INSERT INTO shelfmark_outbox (subject, what)" in made.sql


def test_a_key_is_bound_beside_the_values() -> None:
    made = writing().change(("name",), note=False)
    assert made
    assert sorted(name for name, _ in made.takes) == [KEY, "name"]


def test_values_that_python_makes_need_a_unit_of_work() -> None:
    of = Writing(surface(Thing), ("id",), DIALECT)
    assert of.create(("name", "weight"), note=False) is None
    given = of.create(("name", "weight", "code"), note=False)
    assert given
    assert of.change(("name",), note=False)
