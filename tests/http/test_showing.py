"""Rows as clients see them."""

import datetime
from types import SimpleNamespace

import pytest
from pydantic import field_serializer

from service.errors import SetupError
from service.http import Schema
from service.http.callers import NOBODY
from service.http.confining import Rows
from service.http.showing import Showing
from service.tables.authors import Author, AuthorRead
from service.tables.books import Book, BookRead


class Shouted(Schema):
    """A shape that changes what it shows."""

    id: int
    name: str

    @field_serializer("name")
    def _upper(self, name: str) -> str:
        return name.upper()


class Hours(Schema):
    """A shape with times of day."""

    id: int
    name: datetime.time | None


ROW = SimpleNamespace(id=7, name="Émile")


def test_only_what_is_named_is_shown() -> None:
    showing = Showing.of(Author, AuthorRead, {})
    assert showing.row(ROW) == {"name": "Émile", "id": 7}
    assert list(showing.row(ROW, ["id"])) == ["id"]


def test_a_shape_of_ones_own_is_kept() -> None:
    showing = Showing.of(Author, Shouted, {})
    assert showing.row(ROW, ["name"]) == {"name": "ÉMILE"}
    assert showing.columns(["name"], []) is None


def test_a_time_of_day_keeps_its_zeros() -> None:
    row = SimpleNamespace(id=7, name=datetime.time(0, 0, 0, 10_000))
    assert Showing.of(Author, Hours, {}).row(row) == {"id": 7, "name": "00:00:00.010000"}


def test_a_relation_needs_the_column_that_refers() -> None:
    showing = Showing.of(Book, BookRead, {"author": AuthorRead})
    assert showing.columns(["title"], ["author"]) == ["title", "author_id"]


def test_a_relation_that_isnt_there_is_null() -> None:
    showing = Showing.of(Book, BookRead, {"author": AuthorRead})
    every = {"author": Rows(NOBODY, {})}
    assert showing.row(SimpleNamespace(id=7, author=None), ["id"], every) == {"id": 7, "author": None}


def test_a_relation_that_a_key_may_not_see_is_null() -> None:
    showing = Showing.of(Book, BookRead, {"author": AuthorRead})
    row, theirs = SimpleNamespace(id=7, author=ROW), {"author": Rows(NOBODY, {"id": 8})}
    assert showing.row(row, ["id"], theirs) == {"id": 7, "author": None}
    assert showing.row(row, ["id"], {"author": Rows(NOBODY, {"id": 7})})["author"] == {"id": 7, "name": "Émile"}


@pytest.mark.parametrize("name", ["title", "nothing"])
def test_what_is_no_relation_cant_be_included(name: str) -> None:
    with pytest.raises(SetupError, match=f"include={name} needs a many-to-one"):
        Showing.of(Book, BookRead, {name: AuthorRead})
