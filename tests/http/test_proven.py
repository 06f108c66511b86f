"""What is proven is what routes and repositories send: the statements are the same, but for the columns that they select."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
from httpx import AsyncClient

from service.contract.question import Bound, Question, Range, Sort, Sought
from service.contract.served import served
from service.db import Model, surface
from service.db.bound import Bound as BoundDatabase
from service.db.statements import Asked
from service.plans.forms import FORMS, AsJson, Counted, Estimated, Narrow, Page, Sent, Together
from service.plans.proof import Prover
from service.plans.questions import Last
from service.tables.authors import Author
from service.tables.books import Book, Books
from service.tables.copies import Copy
from service.tables.loans import Loan
from tests.factories.books import BookFactory
from tests.fixtures.forms import asked, sent
from tests.fixtures.rows import Full
from tests.fixtures.statements import Queries

SELECTED = re.compile(r"SELECT (?!count\(\*\)).*?\s+FROM", re.DOTALL)
BY_TITLE = next(one for one in served(surface(Book).contract) if one.path == "ix_books_search_title")
TITLE = """lower(title COLLATE "default") COLLATE "C" LIKE"""


def shape(sql: str) -> str:
    """SQL without the columns it selects."""
    return SELECTED.sub("SELECT FROM", sql)


NEWEST = Question({"author_id": 7}, (Range("published_year", lower=Bound(1990, inclusive=True)),))
ROUTES: dict[str, tuple[str, type[Model], Question]] = {
    "a list": ("/v1/books", Book, Question()),
    "a list with a range": ("/v1/books?author_id=7&published_year__gte=1990", Book, NEWEST),
    "the other way round": ("/v1/books?sort=published_year", Book, Question(sort=(Sort("published_year"),))),
    "members that the index holds": ("/v1/books?fields=id,published_year", Book, Question()),
    "a folded order": ("/v1/authors", Author, Question()),
    "a partial index": ("/v1/loans?returned_at=null&member_id=7", Loan, Question({"returned_at": None, "member_id": 7})),
    "a lookup": ("/v1/books?isbn13=1", Book, Question({"isbn13": "1"})),
    "several values": ("/v1/books?id__in=1,2", Book, Question(among={"id": (1, 2)})),
    "a search": ("/v1/books?title__icontains=abc", Book, Question(searches=(Sought("title__folded", "icontains", "abc"),))),
}


@pytest.mark.parametrize("case", ROUTES)
async def test_a_page_is_what_a_route_sends(case: str, client: AsyncClient, queries: Queries) -> None:
    url, model, question = ROUTES[case]
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    ((sql, _),) = queries.sent
    form = Page() if question.searches else AsJson()
    assert shape(sql) == shape(sent(form, asked(model, question)).sql)


@pytest.mark.parametrize("case", ROUTES)
async def test_rows_that_python_writes_are_what_a_route_sends(case: str, client: AsyncClient, queries: Queries) -> None:
    url, model, question = ROUTES[case]
    await client.get(f"{url}{'&' if '?' in url else '?'}count=estimated")
    assert shape(queries.sent[0][0]) == shape(sent(Page(), asked(model, question)).sql)


async def test_a_later_page_is_what_a_route_sends(client: AsyncClient, queries: Queries) -> None:
    for _ in range(2):
        await BookFactory.create(published_year=None)
    first = (await client.get("/v1/books?limit=1")).json()
    queries.clear()
    await client.get(f"/v1/books?limit=1&cursor={first['next']}")
    ((sql, _),) = queries.sent
    last = {"published_year": None, "id": first["data"][0]["id"]}
    assert shape(sql) == shape(sent(AsJson(limit=2), asked(Book, Question()), last).sql)


async def test_a_row_is_what_a_route_sends(client: AsyncClient, queries: Queries) -> None:
    book = await BookFactory.create()
    queries.clear()
    await client.get(f"/v1/books/{book.id}")
    ((sql, values),) = queries.sent
    one = sent(Together(), asked(Book, Question({"id": book.id})))
    assert (shape(sql), values) == (shape(one.sql), one.values)


@pytest.mark.parametrize(("count", "form"), [("capped", Counted()), ("estimated", Estimated())])
async def test_a_count_is_what_a_route_sends(count: str, form: Any, client: AsyncClient, queries: Queries) -> None:
    await client.get(f"/v1/books?author_id=7&published_year__gte=1990&count={count}")
    assert queries.sent[-1][0] == sent(form, asked(Book, NEWEST)).sql


async def test_rows_by_key_are_what_a_repository_and_include_send(
    client: AsyncClient, database: BoundDatabase, queries: Queries
) -> None:
    book = await BookFactory.create()
    by_key = FORMS[-1]
    queries.clear()
    await Books(database).get(book.id)
    await client.get("/v1/books?include=author")
    one, _, several = (sql for sql, _ in queries.sent)
    assert shape(one) == shape(sent(by_key, asked(Book, Question({"id": 7}))).sql)
    assert shape(several) == shape(sent(by_key, asked(Author, Question(among={"id": (7,)}))).sql)


def test_what_an_index_includes_is_asked_for_as_well() -> None:
    of = asked(Copy, Question({"book_id": 7}, sort=(Sort("status"),)))
    assert Narrow().columns(of) == ["book_id", "branch", "id", "shelfmark", "status"]


@dataclass(frozen=True)
class Unfenced(Page):
    """A search in another way than the service has it."""

    sql: str = ""
    values: tuple[Any, ...] = ()

    def sent(self, asked: Asked, last: Last | None, dialect: Any) -> Sent | None:  # noqa: ARG002 - as all forms
        """The SQL."""
        return Sent(self.sql, self.values) if last is None else None


UNFENCED = {
    "without a limit": (
        Unfenced(sql=f"SELECT * FROM (SELECT * FROM books WHERE {TITLE} '%qqqzzz%' OFFSET 0) AS found ORDER BY id LIMIT 51"),
        {"no limit right above the search", "a Sort of more than the keys that were found"},
    ),
    "along the primary key": (
        Unfenced(sql=f"SELECT * FROM books WHERE {TITLE} $1 ORDER BY id LIMIT 51", values=("%o%",)),
        {"a walk of pk_books: it isn't entered with the keys that were found", "no scan of ix_books_search_title"},
    ),
}


@pytest.mark.parametrize("case", UNFENCED)
async def test_a_search_without_its_fence_is_found(case: str, full: Full) -> None:
    form, expected = UNFENCED[case]
    async with full.engine.connect() as connection:
        proof = await (await Prover.on(connection, surface(Book), full.samples["books"], forms=(form,))).prove(BY_TITLE)
    assert {fault.sentence for fault in proof.faults} >= expected


async def test_a_search_that_takes_too_long_is_refused_as_promised(full: Full) -> None:
    form = Unfenced(sql="SELECT pg_sleep(30)")
    async with full.engine.connect() as connection:
        prover = await Prover.on(connection, surface(Book), full.samples["books"], forms=(form,))
        await prover.driver.execute("SET statement_timeout = 50")
        proof = await prover.prove(BY_TITLE)
        await prover.driver.execute("RESET statement_timeout")
    assert (proof.stopped, proof.buffers) == (1, {})
    assert not any(fault.how == "run" for fault in proof.faults)
