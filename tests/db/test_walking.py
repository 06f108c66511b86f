"""Walks along indexes: each served question from its beginning to its end, whoever writes the rows."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from service.contract.question import Bound as End
from service.contract.question import Question, Range, Sort
from service.db import Surface, surface
from service.db.bound import Bound
from service.db.walking import Keys, Loaded, Walk, Written, chosen, writable
from service.tables.books import Book, Books
from service.tables.loans import Loan, Loans
from tests.db.kinds import Kind
from tests.factories.books import BookFactory
from tests.factories.loans import LoanFactory

OF = surface(Book)
QUESTIONS = [
    Question(),
    Question(sort=(Sort("published_year"),)),
    Question(sort=(Sort("title__folded", descending=True),)),
    Question({"published_year": None}),
    Question({}, (Range("published_year", lower=End(1990, inclusive=True)),)),
    Question({"language": "eng"}, sort=(Sort("ratings_count"),)),
]


async def walked(walk: Walk, limit: int) -> list[Any]:
    """All rows of a walk."""
    rows: list[Any] = []
    last: Keys | None = None
    while True:
        stretch = await walk.page(last, limit)
        assert len(stretch.rows) <= limit
        rows += stretch.rows
        last = stretch.last
        if last is None:
            return rows


async def shelved() -> None:
    """Books with equal keys, and with none."""
    for number, year in enumerate((1990, None, 2000, 1990, None, -44, 1990)):
        await BookFactory.create(title="It" if number % 2 else "it", published_year=year, language="eng", ratings_count=number % 3)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("question", QUESTIONS, ids=str)
async def test_each_row_is_met_once_in_the_order_of_the_question(question: Question, limit: int, database: Bound) -> None:
    await shelved()
    every = [row.id for row in await walked(Loaded(Books(database), OF, question, ["id"], 10), 100)]
    assert len(set(every)) == len(every) > 0
    assert [row.id for row in await walked(Loaded(Books(database), OF, question, ["id"], 10), limit)] == every
    cells = await walked(Written(database, OF, question, ["id", "title"], cells=True), limit)
    assert [int(key) for key, _ in cells] == every
    objects = await walked(Written(database, OF, question, ["id"], cells=False), limit)
    assert [row for (row,) in objects] == [f'{{"id":{key}}}' for key in every]


async def test_a_lookup_is_one_stretch(database: Bound) -> None:
    await shelved()
    async with database.reading() as session:
        ids = list(await session.scalars(select(Book.id).order_by(Book.id)))
    for question in (Question(among={"id": tuple(ids)}), Question({"id": ids[0]}), Question({"id": -1})):
        stretch = await Written(database, OF, question, ["id"], cells=True).page(None, 2)
        assert stretch.last is None
        assert [int(key) for (key,) in stretch.rows] == (
            ids if question.among else [key for key in ids if key == question.equals["id"]]
        )


async def test_a_partial_index_is_walked(database: Bound) -> None:
    loan = await LoanFactory.create()
    question = Question({"returned_at": None}, sort=(Sort("due_on"),))
    assert [key for (key,) in await walked(Written(database, surface(Loan), question, ["id"], cells=True), 1)] == [str(loan.id)]
    assert [row.id for row in await walked(Loaded(Loans(database), surface(Loan), question, None, 10), 1)] == [loan.id]


async def test_columns_that_only_python_writes() -> None:
    of = surface(Kind)
    assert writable(of, ["id", "day", "document"])
    assert not writable(of, ["id", "mood"])
    assert not writable(of, ["id", "no_such_column"])


async def test_what_no_index_serves_isnt_walked(database: Bound) -> None:
    with pytest.raises(LookupError, match="no index of books serves"):
        await Written(database, OF, Question(sort=(Sort("isbn13"),)), ["id"], cells=True).page(None, 1)


async def test_the_choice_is_made_anew_for_each_page(database: Bound) -> None:
    """So that an index may be swapped, or be withdrawn and another serve."""
    assert chosen(database, OF, Question()).path.name == "ix_books_newest"
    narrowed: Surface = replace(OF, contract=replace(OF.contract, paths=()))
    with pytest.raises(LookupError):
        chosen(database, narrowed, Question())
