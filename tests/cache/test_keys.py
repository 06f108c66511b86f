"""Tags: a write to a row meets each list that it is in, and those that fix other values don't notice."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Index, Numeric, Uuid
from sqlalchemy.orm import Mapped, mapped_column, registry

from service.cache.keys import Kept, Names
from service.contract.choose import choose
from service.contract.question import Question, Range, Sort
from service.db import Model, surface
from service.db.model import NAMES, table_of
from service.errors import SetupError
from service.tables.books import Book

NAMED = Names("a database")
KEPT = Kept.of(surface(Book), 60)
ROW: dict[str, Any] = {
    "id": 7,
    "author_id": 3,
    "language": "en",
    "isbn13": None,
    "source": "api",
    "source_key": "k",
    "published_year": 1969,
}


class Other(Model):
    """Tables of this file alone."""

    __abstract__ = True
    registry = registry()


def tags(question: Question) -> set[bytes]:
    """The tags of a question, without the table's."""
    choice = choose(surface(Book).contract, question)
    assert choice
    return set(KEPT.tags(NAMED, question, choice)) - {NAMED.table("books")}


def met(question: Question) -> bool:
    """Whether a write of the row has it forgotten."""
    return bool(tags(question) & set(KEPT.written(NAMED, 7, ROW)))


@pytest.mark.parametrize(
    ("question", "is_met"),
    [
        (Question(), True),
        (Question({"author_id": 3}), True),
        (Question({"author_id": 4}), False),
        (Question({"author_id": 3, "published_year": 1969}, sort=(Sort("id", descending=True),)), True),
        (Question({"language": "en"}, sort=(Sort("ratings_count", descending=True),)), True),
        (Question({"language": "de"}, sort=(Sort("ratings_count", descending=True),)), False),
        (Question({"language": None}, sort=(Sort("ratings_count", descending=True),)), False),
        (Question({"source": "api", "source_key": "k"}), True),
        (Question({"source": "api", "source_key": "l"}), False),
        (Question({"isbn13": "9780441007318"}), False),
        (Question(among={"id": (1, 7)}), True),
        (Question(among={"id": (1, 2)}), False),
        (Question({"title__folded": "x"}, sort=(Sort("id"),)), True),
        (Question(ranges=(Range("published_year"),)), True),
    ],
    ids=str,
)
def test_what_a_write_meets(question: Question, is_met: bool) -> None:
    assert met(question) is is_met


def test_names_of_another_database_are_others() -> None:
    others = Names("another")
    assert NAMED.epoch != others.epoch
    assert NAMED.row("books", 7) != others.row("books", 7)
    assert NAMED.entry(b"of", [7]) != others.entry(b"of", [7])
    assert Names("a database").row("books", 7) == NAMED.row("books", 7)


def test_names_hide_what_was_asked() -> None:
    assert b"secret" not in NAMED.entry(b"of", ["secret"]) + NAMED.lists("books", ("title",), {"title": "secret"})


def test_a_key_that_has_several_spellings_is_refused() -> None:
    class Priced(Other):
        __tablename__ = "priced"
        metadata = type(Model.metadata)(naming_convention=NAMES)
        price: Mapped[int] = mapped_column(Numeric(), primary_key=True)

    with pytest.raises(SetupError, match="can't be cached"):
        Kept.of(surface(Priced), 60)


def test_values_that_look_different_where_they_are_written_tell_no_lists_apart() -> None:
    """A UUID is one in a question, and text in a row of a table that wants it so."""

    class Owned(Other):
        __tablename__ = "owned"
        metadata = type(Model.metadata)(naming_convention=NAMES)
        number: Mapped[int] = mapped_column(primary_key=True)
        owner: Mapped[str] = mapped_column(Uuid(as_uuid=False))
        maker: Mapped[UUID] = mapped_column()
        by_owner = Index("ix_owned_owner", owner, number)
        by_maker = Index("ix_owned_maker", maker, number)

    assert Kept.of(surface(Owned), 60).scopes == (("number",), ("maker",))


@pytest.mark.parametrize("act", ["CASCADE", "cascade", "set null", "SET NULL (author_id)", "Set  Default"])
@pytest.mark.parametrize("when", ["ondelete", "onupdate"])
def test_a_table_whose_rows_change_by_themselves_is_refused(monkeypatch: pytest.MonkeyPatch, when: str, act: str) -> None:
    (key,) = table_of(Book).foreign_keys
    monkeypatch.setattr(key, when, act)
    with pytest.raises(SetupError, match=r"books\.author_id"):
        Kept.of(surface(Book), 60)
