"""Lines of a class body, read back by SQLAlchemy: what is written is what was meant."""

import pytest
from sqlalchemy import Identity, Index, Integer
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex

from service.contract.line import gin_line, index_name, line, ordering
from service.contract.path import Key, Path, Term
from service.contract.question import Sort
from service.db import folded
from service.db.surface import DIALECT
from tests.contract.library import books

ID = Key("id")
CASES: dict[str, tuple[Path, str, str]] = {
    "plain": (
        Path("ix", (Key("title"), ID)),
        'Index("ix", title, id)',
        "CREATE INDEX ix ON shelf (title, id)",
    ),
    "directions and NULLs": (
        Path("ix", (Key("year", descending=True), Key("title", nulls_first=True), Key("id", descending=True, nulls_first=True))),
        'Index("ix", year.desc().nulls_last(), title.asc().nulls_first(), id.desc())',
        "CREATE INDEX ix ON shelf (year DESC NULLS LAST, title ASC NULLS FIRST, id DESC)",
    ),
    "folded": (
        Path("ix", (Key("title__folded"), ID)),
        'Index("ix", folded(title), id)',
        'CREATE INDEX ix ON shelf ((lower(title COLLATE "default") COLLATE "C"), id)',
    ),
    "unique": (
        Path("uq", (Key("title"),), unique=True),
        'Index("uq", title, unique=True)',
        "CREATE UNIQUE INDEX uq ON shelf (title)",
    ),
    "limited to NULL": (
        Path("ix", (ID,), predicate=(Term("year"),)),
        'Index("ix", id, postgresql_where=year.is_(None))',
        "CREATE INDEX ix ON shelf (id) WHERE year IS NULL",
    ),
    "limited to a text, a number and a truth": (
        Path("ix", (ID,), predicate=(Term("title", "O'Neill's"), Term("year", 5), Term("open", value=True))),
        'Index("ix", id, postgresql_where=(title == "O\'Neill\'s") & (year == 5) & (open.is_(True)))',
        "CREATE INDEX ix ON shelf (id) WHERE title = 'O''Neill''s' AND year = 5 AND open IS true",
    ),
    "limited to what is there": (
        Path("uq", (Key("year"),), unique=True, predicate=(Term("year", negated=True),)),
        'Index("uq", year, unique=True, postgresql_where=year.is_not(None))',
        "CREATE UNIQUE INDEX uq ON shelf (year) WHERE year IS NOT NULL",
    ),
    "carrying": (
        Path("ix", (ID,), include=frozenset({"year", "title"})),
        'Index("ix", id, postgresql_include=["title", "year"])',
        "CREATE INDEX ix ON shelf (id) INCLUDE (title, year)",
    ),
}


def declared(body: str) -> str:
    """The DDL of a line, in a class body of its own."""

    class Base(DeclarativeBase):
        pass

    class Shelf(Base):
        __tablename__ = "shelf"
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)
        title: Mapped[str] = mapped_column()
        year: Mapped[int | None] = mapped_column(Integer)
        open: Mapped[bool] = mapped_column()
        made = eval(body, {"Index": Index, "folded": folded}, dict(locals()))  # noqa: S307 - as a developer pastes it

    (index,) = Shelf.metadata.tables["shelf"].indexes
    return str(CreateIndex(index).compile(dialect=DIALECT))


@pytest.mark.parametrize("case", CASES)
def test_a_line_declares_what_was_meant(case: str) -> None:
    path, text, ddl = CASES[case]
    assert line(path) == text
    assert declared(text) == ddl


def test_lines_of_searches() -> None:
    assert declared(gin_line("shelf", "title__folded")) == (
        'CREATE INDEX ix_shelf_search_title ON shelf USING gin ((lower(title COLLATE "default") COLLATE "C") gin_trgm_ops)'
    )
    assert "jsonb_path_ops" in declared(gin_line("shelf", "title"))


def test_a_key_that_may_be_null_has_its_nulls_where_the_order_wants_them() -> None:
    assert ordering(books, Sort("published_year", descending=True)) == Key("published_year", descending=True, nullable=True)
    assert ordering(books, Sort("published_year")) == Key("published_year", nulls_first=True, nullable=True)
    assert ordering(books, Sort("id", descending=True)) == Key("id", descending=True, nulls_first=True)


def test_names_tell_what_an_index_is() -> None:
    keys = (Key("odd Name"), Key("title__folded"), ID)
    assert index_name(books, Path("", keys)) == "ix_books_odd_Name_title_folded"
    assert index_name(books, Path("", keys[:1], unique=True)) == "uq_books_odd_Name"
    limited = Path("", (Key("title"), ID), predicate=(Term("status", "on loan"), Term("slip"), Term("year", negated=True)))
    assert index_name(books, limited) == "ix_books_title_status_on_loan_slip_null_year"
    assert index_name(books, Path("", (Key("slip"),), unique=True, predicate=(Term("slip", negated=True),))) == "uq_books_slip"


def test_a_name_that_is_taken_is_numbered_and_stays_short() -> None:
    path = Path("", (Key("ü" * 40), ID))
    first = index_name(books, path)
    second = index_name(books, path, {first})
    third = index_name(books, path, {first, second})
    assert (second[-2:], third[-2:]) == ("_2", "_3")
    assert all(61 < len(name.encode()) <= 63 for name in (first, second, third))
