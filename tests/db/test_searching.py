"""What is sought is written into the statement, safely, and behind a fence."""

import pytest
from sqlalchemy import Index, text
from sqlalchemy.ext.asyncio import create_async_engine

from service.contract.choose import choose
from service.contract.question import Question, Sought
from service.db import surface
from service.db.bound import Bound
from service.db.searching import FOUND, holds
from service.db.statements import Asked
from service.tables.books import Book, Books
from tests.factories.books import BookFactory
from tests.fixtures.statements import Queries, ServedBy

OF = surface(Book)
DIALECT = create_async_engine("postgresql+asyncpg://").dialect
GARDEN = Question(searches=(Sought("title__folded", "icontains", "garden"),))


def sent(question: Question, last: int | None = None) -> tuple[str, dict[str, object]]:
    """The SQL of a page, and its values."""
    choice = choose(OF.contract, question)
    assert choice
    page = Asked(OF, question, choice).page(["id"], 51, None if last is None else {"id": last}, 1000)
    compiled = page.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
    return str(compiled), dict(compiled.params)


def test_the_pattern_is_a_literal_behind_a_fence_and_the_cap() -> None:
    sql, values = sent(GARDEN)
    assert "AS MATERIALIZED" in sql
    assert 'LIKE (lower(\'%garden%\' COLLATE "default") COLLATE "C") \n LIMIT 1001)' in sql
    assert values == {}


def test_json_is_a_literal_too() -> None:
    sql, values = sent(Question(searches=(Sought("attributes", "has", '{"a": "it\'s"}'),)))
    assert """books.attributes @> CAST('{"a": "it''s"}' AS JSONB)""" in sql
    assert values == {}


def test_where_a_page_begins_is_bound() -> None:
    sql, values = sent(GARDEN, last=7)
    assert "key > $1" in sql
    assert list(values.values()) == [7]


@pytest.mark.parametrize(
    "value", ["abc'; DROP TABLE books; --", "abc\\' OR true --", "$$abc$$", "E'\\x41bc'", "abc\\", "/* abc", ":abc %(abc)s"]
)
async def test_no_text_gets_out_of_its_quotes(database: Bound, value: str) -> None:
    """Whatever is sought, PostgreSQL reads that text and nothing else."""
    book = await BookFactory.create(title=f"before {value} after")
    await BookFactory.create(title="abc")
    question = Question(searches=(Sought("title__folded", "icontains", value),))
    choice = choose(OF.contract, question)
    assert choice
    found = await Books(database).ask(question, choice, 50)
    assert [row.id for row in found] == [book.id]
    assert found.found == 1
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM books")) == 2


async def test_a_statement_that_was_compiled_before_takes_the_next_pattern(database: Bound, queries: Queries) -> None:
    for title in ("garden", "desert"):
        book = await BookFactory.create(title=title)
        question = Question(searches=(Sought("title__folded", "icontains", title),))
        choice = choose(OF.contract, question)
        assert choice
        assert [row.id for row in await Books(database).ask(question, choice, 50)] == [book.id]
        assert f"'%{title}%'" in queries.sent[-1][0]


async def test_a_search_of_ones_own_rides_the_index_that_it_names(database: Bound, served_by: ServedBy) -> None:
    books = [await BookFactory.create(title="Garden", attributes={"binding": "cloth"}) for _ in range(3)]
    async with served_by("ix_books_search_title"):
        first = await Books(database).search(Book.search_title, "ARD", limit=2)
    assert [row.id for row in first] == [book.id for book in books[:2]]
    async with served_by("ix_books_search_attributes"):
        assert len(await Books(database).search(Book.search_attributes, '{"binding": "cloth"}', after=first.last)) == 1


@pytest.mark.parametrize(
    ("path", "sought", "why"),
    [
        (Book.by_author, "garden", "ix_books_by_author serves no search"),
        (Book.search_title, "ab", "3 letters or digits"),
        (Book.search_attributes, "{}", "nothing to look for"),
    ],
)
async def test_what_no_index_could_look_for_is_refused(database: Bound, path: Index, sought: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        await Books(database).search(path, sought)


async def test_where_too_much_was_found_each_page_says_so(database: Bound) -> None:
    last = [await BookFactory.create(title="garden") for _ in range(4)][-1].id
    choice = choose(OF.contract, GARDEN)
    assert choice
    async with database.reading() as session:
        for most, expected in ((3, {4}), (4, set())):
            rows = await session.execute(Asked(OF, GARDEN, choice).page(["id"], 51, {"id": last}, most))
            assert {row[FOUND] for row in rows.mappings()} == expected


def test_what_holds_is_what_the_index_keeps() -> None:
    sql = str(
        holds(OF, Sought("title__folded", "icontains", "50%_\\")).compile(dialect=DIALECT, compile_kwargs={"literal_binds": True})
    )
    assert sql.startswith('(lower(books.title COLLATE "default") COLLATE "C") LIKE ')
    assert "'%50\\%\\_\\\\%'" in sql
