"""A URL that can't be understood is refused with the parameter's name, before anything is sent to the database."""

import pytest
from httpx import AsyncClient

from tests.fixtures.statements import Queries
from tests.http.conftest import KINDS, refused

WRONG = [
    ("author=7", "author", "unknown parameter"),
    ("version=1", "version", "unknown parameter"),
    ("title__folded=a", "title__folded", "unknown parameter"),
    ("__gte=1", "__gte", "unknown parameter"),
    ("author_id__foo=1", "author_id__foo", "unknown operator"),
    ("author_id__=1", "author_id__", "unknown operator"),
    ("title__contains=abc", "title__contains", "__icontains"),
    ("attributes__gt=1", "attributes__gt", "__has"),
    ("attributes=1", "attributes", "attributes__has="),
    ("author_id__startswith=1", "author_id__startswith", "isn't text"),
    ("author_id__iexact=1", "author_id__iexact", "isn't text"),
    ("author_id=1&author_id=1", "author_id", "given twice"),
    ("limit=1&limit=2", "limit", "given twice"),
    ("isbn13=%00", "isbn13", "U+0000"),
    ("title__istartswith=a%00", "title__istartswith", "U+0000"),
    ("author_id=9223372036854775808", "author_id", "integer from"),
    ("author_id=-9223372036854775809", "author_id", "integer from"),
    ("published_year=2147483648", "published_year", "integer from"),
    ("author_id=" + "9" * 5000, "author_id", "integer from"),
    ("attributes=%7B%7D", "attributes", "no filter takes it"),
    ("limit=0", "limit", "1 to 200"),
    ("limit=201", "limit", "1 to 200"),
    ("limit=-1", "limit", "1 to 200"),
    ("limit=1.0", "limit", "1 to 200"),
    ("limit=%C2%B2", "limit", "1 to 200"),
    ("limit=", "limit", "1 to 200"),
    ("fields=id,nothing", "fields", "nothing is no field"),
    ("fields=version", "fields", "version is no field"),
    ("fields=", "fields", "(empty) is no field"),
    ("include=copies", "include", "copies is no relation"),
    ("count=all", "count", "none, estimated, capped"),
    ("count=capped,none", "count", "none, estimated, capped"),
    ("sort=", "sort", "it names no key"),
    ("sort=-", "sort", "it names no key"),
    ("sort=version", "sort", "version is no sort key"),
    ("sort=attributes", "sort", "attributes is no sort key"),
    ("sort=id,-id", "sort", "twice"),
    ("title__istartswith=", "title__istartswith", "at least one character"),
    ("title__istartswith=a%F4%8F%BF%BF", "title__istartswith", "U+10FFFF"),
    ("published_year__gt=1&published_year__gte=2", "published_year__gte", "two lower ends"),
    ("published_year__lt=1&published_year__lte=2", "published_year__lte", "two upper ends"),
    ("title__startswith=a&title__gte=b", "title__gte", "prefix and another range"),
    ("title__gte=b&title__startswith=a", "title__startswith", "prefix and another range"),
    ("isbn13__in=" + ",".join(map(str, range(101))), "isbn13__in", "at most 100"),
    ("id__in=1,null", "id__in", "integer from"),
    ("created_at__gte=2020", "created_at__gte", "2026-01-31T12:00:00Z"),
]


@pytest.mark.parametrize(("query", "parameter", "said"), WRONG, ids=[query[:40] for query, _, _ in WRONG])
async def test_a_wrong_parameter_is_named(client: AsyncClient, queries: Queries, query: str, parameter: str, said: str) -> None:
    problem = refused(await client.get(f"/v1/books?{query}"), 422, "invalid-question")
    assert parameter in {error["parameter"] for error in problem["errors"]}
    assert said in problem["detail"]
    assert not queries.sent


WRONG_TYPES = [
    ("small", "32768"),
    ("medium", "1_000"),
    ("large", "1.0"),
    ("number", "nan"),
    ("number", "1e400"),
    ("exact", "1e5"),
    ("exact", "12,5"),
    ("flag", "yes"),
    ("label", "%00"),
    ("code", "%00"),
    ("mood", "CALM"),
    ("word", "stormy"),
    ("day", "2026-02-30"),
    ("day", "1700000000"),
    ("clock", "25:00:00"),
    ("clock", "12:00:00Z"),
    ("moment", "2026-01-31T12:00:00"),
    ("moment", "2026-01-31T12:00:00+00:00"),
    ("local", "2026-01-31T12:00:00Z"),
    ("span", "P1D"),
    ("span", "1e300"),
    ("raw", "="),
    ("token", "7"),
    ("tags", "a"),
    ("document", "1"),
]


@pytest.mark.parametrize(("column", "text"), WRONG_TYPES)
async def test_a_value_of_another_type_is_refused(kinds: AsyncClient, queries: Queries, column: str, text: str) -> None:
    before = len(queries)
    problem = refused(await kinds.get(f"{KINDS}?{column}={text}"), 422, "invalid-question")
    assert [error["parameter"] for error in problem["errors"]] == [column]
    assert len(queries) == before


async def test_all_wrong_parameters_are_told_at_once(client: AsyncClient) -> None:
    problem = refused(await client.get("/v1/books?limit=0&colour=red&author_id=x"), 422, "invalid-question")
    assert [error["parameter"] for error in problem["errors"]] == ["limit", "colour", "author_id"]


@pytest.mark.parametrize("query", ["title__istartswith=%ED%A0%80", "isbn13=%FF", "isbn13=%C3"])
async def test_a_query_that_is_not_utf8_is_refused(client: AsyncClient, queries: Queries, query: str) -> None:
    problem = refused(await client.get(f"/v1/books?{query}"), 422, "invalid-question")
    assert "UTF-8" in problem["detail"]
    assert not queries.sent


@pytest.mark.parametrize(("path", "parameter"), [("abc", "id"), ("1.0", "id"), ("9223372036854775808", "id"), ("%00", "id")])
async def test_a_key_of_another_type_is_refused(client: AsyncClient, queries: Queries, path: str, parameter: str) -> None:
    problem = refused(await client.get(f"/v1/books/{path}"), 422, "invalid-question")
    assert problem["errors"][0]["parameter"] == parameter
    assert not queries.sent


@pytest.mark.parametrize("query", ["limit=1", "fields=nothing", "include=copies", "fields=id&fields=id", "title=It"])
async def test_one_row_takes_fields_and_include_only(client: AsyncClient, queries: Queries, query: str) -> None:
    parameter = query.partition("=")[0]
    problem = refused(await client.get(f"/v1/books/1?{query}"), 422, "invalid-question")
    assert problem["errors"][0]["parameter"] == parameter
    assert not queries.sent


REFUSED = [
    ("ratings_count=7", "ratings_count="),
    ("isbn13=null", "isbn13=null"),
    ("title__iexact=null", "title__iexact="),
    ("sort=-published_year,id", "sort=-published_year,id"),
    ("isbn13__in=1&sort=id", "isbn13__in="),
    ("language__in=eng,fre", "language__in="),
    ("author_id=1&language=eng", "author_id="),
    ("title__startswith=It", "title__startswith="),
]


@pytest.mark.parametrize(("query", "asked"), REFUSED)
async def test_what_no_index_serves_is_refused(client: AsyncClient, queries: Queries, query: str, asked: str) -> None:
    problem = refused(await client.get(f"/v1/books?{query}"), 400, "not-served")
    assert asked in problem["asked"]
    assert "author_id= & [sort=-published_year or published_year] & [published_year__gt|gte|lt|lte=]" in problem["served"]
    assert problem["nearest"]
    assert problem["nearest"] in problem["detail"]
    assert not queries.sent


async def test_a_refusal_holds_the_line_that_would_serve_it(client: AsyncClient) -> None:
    problem = refused(await client.get("/v1/books?ratings_count=7"), 400, "not-served")
    assert problem["index"].startswith('Index("ix_books_ratings_count_published_year", ratings_count, published_year.desc()')
    assert problem["index"] in problem["detail"]


async def test_a_refusal_names_no_hidden_column(client: AsyncClient) -> None:
    problem = refused(await client.get("/v1/books?ratings_count=7"), 400, "not-served")
    assert not any("version" in line for line in problem["served"])
