"""`GET /v1/books.csv` and `.ndjson`: all rows of a question that the list serves, or a refusal before the first byte."""

import csv
import io
import json
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import text

from service.app import create_app
from service.db.bound import Bound
from service.errors import NotServed
from service.jobs.exporting import PAGE_ROWS
from service.settings import Settings
from service.tables.books import BookRead
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.factories.loans import LoanFactory
from tests.factories.members import MemberFactory
from tests.fixtures.application import client_of
from tests.fixtures.keys import bearer, granted
from tests.fixtures.statements import Queries, ServedBy
from tests.http.conftest import KINDS, refused, walked

MANY = 2 * PAGE_ROWS[-1] + 7
FILLED = text("""
INSERT INTO books (author_id, title, published_year)
SELECT :author, 'Title ' || n, CASE WHEN n % 7 = 0 THEN NULL ELSE 1900 + n % 50 END FROM generate_series(1, :count) n
""")


async def filled(database: Bound, count: int = MANY) -> int:
    """Books of a new author, some without a year; the author."""
    author = await AuthorFactory.create()
    async with database.writing() as unit:
        await unit.session.execute(FILLED, {"author": author.id, "count": count})
    return int(author.id)


def cells(answer: Response) -> list[list[str]]:
    """The lines of a CSV file."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    return list(csv.reader(io.StringIO(answer.content.decode(), newline="")))


def objects(answer: Response) -> list[dict[str, Any]]:
    """The lines of an NDJSON file."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert not answer.content or answer.content.endswith(b"\n")
    return [json.loads(line) for line in answer.content.decode().split("\n")[:-1]]


@pytest.mark.parametrize("sort", ["-published_year", "published_year", "id", "title__folded"])
async def test_a_file_has_the_rows_of_the_list_in_its_order(sort: str, client: AsyncClient, database: Bound) -> None:
    await filled(database)
    rows = await walked(client, "/v1/books", sort=sort, limit=200)
    assert len(rows) == MANY
    assert objects(await client.get("/v1/books.ndjson", params={"sort": sort})) == rows
    head, *lines = cells(await client.get("/v1/books.csv", params={"sort": sort, "fields": "id,title"}))
    assert head == ["id", "title"]
    assert lines == [[str(row["id"]), row["title"]] for row in rows]


async def test_each_page_rides_the_index_that_the_list_rides(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    author = await filled(database)
    async with served_by("ix_books_by_author"):
        assert len(objects(await client.get("/v1/books.ndjson", params={"author_id": author}))) == MANY


async def test_a_file_is_named_and_kept_by_nobody(client: AsyncClient) -> None:
    answer = await client.get("/v1/books.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="books.csv"'
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["content-length"] == str(len(answer.content))


async def test_no_rows_are_a_header_or_nothing(client: AsyncClient) -> None:
    assert [set(line) for line in cells(await client.get("/v1/books.csv"))] == [set(BookRead.model_fields)]
    assert (await client.get("/v1/books.ndjson")).content == b""


@pytest.mark.parametrize("asked", ["isbn13=9780000000002", "id__in=3,1,2", "id=1", "title__icontains=garden"])
async def test_lookups_and_searches_are_files_too(asked: str, client: AsyncClient) -> None:
    await BookFactory.create(isbn13="9780000000002", title="The Garden")
    await BookFactory.create(title="Gardens of ash")
    assert objects(await client.get(f"/v1/books.ndjson?{asked}")) == (await client.get(f"/v1/books?{asked}")).json()["data"]
    assert len(cells(await client.get(f"/v1/books.csv?{asked}"))) == 1 + len(
        (await client.get(f"/v1/books?{asked}")).json()["data"]
    )


async def test_a_search_that_finds_too_much_is_refused(client: AsyncClient, settings: Settings, database: Bound) -> None:
    await filled(database, 30)
    async with client_of(create_app(settings.model_copy(update={"search_most": 20}), database)) as strict:
        refused(await strict.get("/v1/books.csv?title__icontains=title"), 422, "too-many-matches")


async def test_what_no_index_serves_is_refused_as_in_a_list(client: AsyncClient, queries: Queries, app: FastAPI) -> None:
    problem = refused(await client.get("/v1/books.csv?sort=isbn13"), 400, "not-served")
    assert problem | {"instance": ""} == (await client.get("/v1/books?sort=isbn13")).json() | {"instance": ""}
    assert len(queries) == 0
    assert NotServed.slug in problem["type"]


@pytest.mark.parametrize("parameter", ["limit=5", "cursor=x", "count=capped", "include=author", "formulas=drop", "nothing=1"])
async def test_what_a_file_hasn_t_is_refused(parameter: str, client: AsyncClient, queries: Queries) -> None:
    problem = refused(await client.get(f"/v1/books.csv?{parameter}"), 422, "invalid-question")
    assert [error["parameter"] for error in problem["errors"]] == [parameter.partition("=")[0]]
    assert len(queries) == 0


async def test_formulas_are_no_parameter_of_ndjson(client: AsyncClient) -> None:
    problem = refused(await client.get("/v1/books.ndjson?formulas=keep"), 422, "invalid-question")
    assert problem["detail"] == "formulas: only CSV has formulas: leave it out"


async def test_the_reason_of_a_refusal_is_that_of_its_parameter(client: AsyncClient) -> None:
    problem = refused(await client.get("/v1/books.csv?limit=5&include=author&formulas=drop"), 422, "invalid-question")
    assert {error["parameter"]: error["message"] for error in problem["errors"]} == {
        "limit": "a file has all rows of its question, and no others: leave it out",
        "include": "a file has the rows of one table, with nothing embedded: leave it out",
        "formulas": "expected quote or keep, given once",
    }


async def test_too_many_rows_are_refused_before_the_first_byte(settings: Settings, database: Bound) -> None:
    author = await filled(database)
    for most, status in ((MANY, 200), (MANY - 1, 422)):
        async with client_of(create_app(settings.model_copy(update={"stream_most": most}), database)) as client:
            answer = await client.get(f"/v1/books.csv?author_id={author}")
            assert answer.status_code == status
    problem = refused(answer, 422, "too-many-rows")
    assert problem["most"] == MANY - 1
    assert "POST /v1/books:export" in problem["detail"]


async def test_formulas_are_disarmed_unless_they_are_to_be_kept(client: AsyncClient) -> None:
    await BookFactory.create(title='=HYPERLINK("http://x")', published_year=-44)
    assert cells(await client.get("/v1/books.csv?fields=title,published_year"))[1] == ['\'=HYPERLINK("http://x")', "-44"]
    assert cells(await client.get("/v1/books.csv?fields=title&formulas=keep"))[1] == ['=HYPERLINK("http://x")']


async def test_a_confined_key_exports_its_rows_only(client: AsyncClient, database: Bound) -> None:
    mine, other = await MemberFactory.create(), await MemberFactory.create()
    loans = [await LoanFactory.create(member=member) for member in (mine, other)]
    key = bearer(await granted(database, "loans:read", within={"member_id": str(mine.id)}))
    rows = objects(await client.get("/v1/loans.ndjson", headers=key))
    assert [row["id"] for row in rows] == [loans[0].id]
    assert [line[0] for line in cells(await client.get("/v1/loans.csv?fields=id", headers=key))[1:]] == [str(loans[0].id)]
    refused(await client.get(f"/v1/loans.csv?member_id={other.id}", headers=key), 403, "forbidden")
    refused(await client.get("/v1/books.csv", headers=key), 403, "forbidden")


async def test_a_key_needs_the_scope_to_read(client: AsyncClient, database: Bound) -> None:
    refused(await client.get("/v1/books.csv", headers=bearer(await granted(database, "books:write"))), 403, "forbidden")
    assert (await client.get("/v1/books.csv", headers=bearer(await granted(database, "books:read")))).status_code == 200


async def test_hidden_columns_stay_hidden(client: AsyncClient) -> None:
    await BookFactory.create()
    assert "version" not in cells(await client.get("/v1/books.csv"))[0]
    assert "version" not in objects(await client.get("/v1/books.ndjson"))[0]
    refused(await client.get("/v1/books.csv?fields=version"), 422, "invalid-question")


async def test_a_head_has_no_body(client: AsyncClient, database: Bound) -> None:
    await filled(database)
    answer = await client.head("/v1/books.csv")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/csv")


async def test_a_question_whose_index_is_away_is_refused(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    async with database.writing() as unit:
        await unit.session.execute(text("DROP INDEX ix_books_by_author"))
    await app.state.service.database.catalogue.refresh(database)
    problem = refused(await client.get("/v1/books.csv?author_id=1"), 503, "index-not-ready")
    assert problem["index"].startswith("Index(")


async def test_every_type_is_written_as_the_list_writes_it(kinds: AsyncClient) -> None:
    await kinds.post(f"{KINDS}:batch", json={"data": ROWS})
    rows = (await kinds.get(KINDS, params={"sort": "id"})).json()["data"]
    assert len(rows) == len(ROWS)
    assert objects(await kinds.get(f"{KINDS}.ndjson?sort=id")) == rows
    for fields in (list(rows[0]), [name for name in rows[0] if name != "mood"]):  # PostgreSQL can't write this one
        head, *lines = cells(await kinds.get(f"{KINDS}.csv?sort=id&formulas=keep&fields={','.join(fields)}"))
        assert head == fields
        read = [{name: _read(name, cell) for name, cell in zip(head, line, strict=True)} for line in lines]
        assert read == [{name: "" if row[name] is None else row[name] for name in fields} for row in rows]


ROWS: list[dict[str, Any]] = [
    {},
    {"label": "", "code": "", "document": {}, "tags": [], "raw": ""},
    {"label": 'a "quoted", cell\r\nwith lines\nand\ttabs\r', "code": "'", "document": {"a": '"\n,'}, "tags": ['"', ",", "\n", ""]},
    {"label": "É\U0001f600 \u202e夜\u2028\x85", "document": {"a": [1, 10**40, 0.5, None, True, "é"]}},
    {"small": -5, "large": -9223372036854775807, "number": -1e-7, "exact": "-0.001", "span": -90.5},
    {"label": "=1+1", "code": "@a", "raw": "-_8="},
    {"day": "0001-01-01", "clock": "00:00:00.01", "moment": "2026-01-31T13:00:00+01:00", "local": "9999-12-31T23:59:59.5"},
    {"mood": "calm sea", "word": "wild", "flag": True, "token": "00000000-0000-0000-0000-000000000007"},
]
TEXTS = {"label", "code", "mood", "word", "day", "clock", "moment", "local", "raw", "token", "exact", "note", "greeting"}


def _read(name: str, cell: str) -> Any:
    """What a reader makes of a cell, who knows its column's type."""
    return cell if name in TEXTS or not cell else json.loads(cell)


async def test_days_before_christ_are_written_as_postgresql_does(kinds: AsyncClient, database: Bound) -> None:
    async with database.writing() as unit:
        days = ", ".join(["('0044-03-15 BC'::date)"] * MANY)
        await unit.session.execute(text(f"INSERT INTO test_kinds (day) VALUES {days}"))
    assert cells(await kinds.get(f"{KINDS}.csv?fields=day&sort=id")) == [["day"], *[["0044-03-15 BC"]] * MANY]
    assert objects(await kinds.get(f"{KINDS}.ndjson?fields=day&sort=id")) == [{"day": "0044-03-15 BC"}] * MANY
