"""Statements that give JSON: compiled once for a shape, and with any values what the rows are."""

import datetime
from typing import Any

import orjson
import pytest
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.types import Double, Numeric

from service.contract.choose import choose
from service.contract.question import Question, Sort
from service.db import surface
from service.db.bound import Bound
from service.db.reading import Compiled, compiled, page_as_json, rows_as_json
from service.db.statements import AMONG, Asked, values
from service.db.version import version_of
from service.tables.books import Book
from tests.db.kinds import Kind
from tests.factories.books import BookFactory

OF = surface(Book)
DIALECT = dialect()  # type: ignore[no-untyped-call]
COLUMNS = ("title", "id")


def statement(question: Question, limit: int, last: dict[str, Any] | None = None) -> Compiled:
    """The page of a question."""
    choice = choose(OF.contract, question)
    assert choice
    made = page_as_json(Asked(OF, question, choice), COLUMNS, limit, last)
    assert made is not None
    return compiled(made, DIALECT)


async def fetched(database: Bound, made: Compiled, given: dict[str, Any]) -> list[Any]:
    """The rows of a statement."""
    return await database.fetch(made.sql, lambda: made.arguments(given), lambda: None)


async def test_a_page_is_one_row_and_says_where_the_next_begins(database: Bound) -> None:
    books = [
        await BookFactory.create(title=f"Number {number}", published_year=year) for number, year in enumerate((1990, None, 2000))
    ]
    question = Question()
    made = statement(question, 2)
    (record,) = await fetched(database, made, values(question))
    data, found, *last = made.result(record)
    assert orjson.loads(f"[{data}]") == [{"title": book.title, "id": book.id} for book in (books[2], books[0])]
    assert (found, last) == (3, [1990, books[0].id])
    row = {"published_year": 1990, "id": books[0].id}
    (record,) = await fetched(database, statement(question, 2, row), values(question, row))
    assert (orjson.loads(f"[{record[0]}]"), record[1]) == ([{"title": "Number 1", "id": books[1].id}], 1)


async def test_one_statement_serves_every_question_of_its_shape(database: Bound) -> None:
    books = [await BookFactory.create() for _ in range(2)]
    made = statement(Question({"author_id": 0}), 5)
    for book in books:
        (record,) = await fetched(database, made, values(Question({"author_id": book.author_id})))
        assert orjson.loads(record[0]) == {"title": book.title, "id": book.id}
    (record,) = await fetched(database, made, values(Question({"author_id": -1})))
    assert tuple(record)[:2] == (None, 0)


async def test_several_values_are_not_cut(database: Bound) -> None:
    books = [await BookFactory.create() for _ in range(3)]
    question = Question(among={"id": tuple(book.id for book in books)})
    (record,) = await fetched(database, statement(question, 1), values(question))
    assert [row["id"] for row in orjson.loads(f"[{record[0]}]")] == [book.id for book in books]


async def test_rows_by_key_come_with_their_keys(database: Bound) -> None:
    books = [await BookFactory.create() for _ in range(2)]
    made = rows_as_json(OF, COLUMNS)
    assert made is not None
    keys = [books[0].id, -1, books[1].id]
    found = await fetched(database, compiled(made, DIALECT), {"id" + AMONG: keys})
    assert [tuple(version) for _, _, *version in found] == [version_of(book) for book in books]
    assert {key: orjson.loads(data) for key, data, *_ in found} == {book.id: {"title": book.title, "id": book.id} for book in books}


def test_what_postgresql_cant_write_has_no_statement() -> None:
    of = surface(Kind)
    question = Question(sort=(Sort("id"),))
    choice = choose(of.contract, question)
    assert choice
    assert rows_as_json(of, ["id", "mood"]) is None
    assert page_as_json(Asked(of, question, choice), ["id", "mood"], 1) is None


@pytest.mark.parametrize(("kind", "value"), [(Double(), 1.5), (Numeric(), None), (Numeric(asdecimal=False), None)])
def test_values_come_back_as_sqlalchemy_gives_them(kind: Any, value: Any) -> None:
    made = compiled(select(bindparam("a", type_=kind), bindparam("day", datetime.date(2020, 1, 1))), DIALECT)
    assert [name for name, _ in made.takes] == ["a", "day"]
    assert made.result([value, None]) == [value, None]
