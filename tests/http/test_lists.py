"""Lists: each row once and in order, whatever the question; only what was asked for is read."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import text

from service.db.bound import Bound
from service.tables.books import Book
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.statements import Queries
from tests.http.conftest import KINDS, walked

NEWEST = "published_year DESC NULLS LAST, id DESC"
OLDEST = "published_year ASC NULLS FIRST, id ASC"
FOLDED = 'lower(title COLLATE "default") COLLATE "C"'

WALKS: list[tuple[dict[str, str], str, str]] = [
    ({}, "true", NEWEST),
    ({"sort": "published_year"}, "true", OLDEST),
    ({"sort": "id"}, "true", "id"),
    ({"sort": "-id"}, "true", "id DESC"),
    ({"author_id": "{author}"}, "author_id = {author}", NEWEST),
    ({"author_id": "{author}", "sort": "published_year"}, "author_id = {author}", OLDEST),
    ({"published_year__gt": "1990", "published_year__lte": "1999"}, "published_year > 1990 AND published_year <= 1999", NEWEST),
    ({"published_year__gte": "1990", "sort": "published_year"}, "published_year >= 1990", OLDEST),
    ({"published_year__lt": "1999"}, "published_year < 1999", NEWEST),
    ({"published_year": "null"}, "published_year IS NULL", "id DESC"),
    ({"published_year": "1995", "sort": "id"}, "published_year = 1995", "id"),
    ({"language": "null", "sort": "-ratings_count"}, "language IS NULL", "ratings_count DESC, id DESC"),
    ({"language": "eng", "sort": "ratings_count", "ratings_count__gte": "1"},
     "language = 'eng' AND ratings_count >= 1", "ratings_count, id"),
    ({"title__iexact": "BOOK 1", "sort": "id"}, f"{FOLDED} = 'book 1'", "id"),
    ({"title__istartswith": "BOO", "sort": "title__folded"}, f"{FOLDED} LIKE 'boo%'", f"{FOLDED}, id"),
    ({"title__istartswith": "É", "sort": "-title__folded"}, f"{FOLDED} LIKE 'é%'", f"{FOLDED} DESC, id DESC"),
    ({"id__gt": "{middle}", "sort": "id"}, "id > {middle}", "id"),
]  # fmt: skip


@pytest.fixture
async def shelf(database: Bound) -> list[Book]:
    """Books that share years, titles, languages and authors, many of them without a year."""
    chance = random.Random(7)  # noqa: S311  # a test's rows
    authors = await AuthorFactory.create_batch(2)
    books = [
        BookFactory.build(
            author=chance.choice(authors),
            title=chance.choice(["Book 1", "book 1", "BOOK 2", "École", "école 2", "zoo"]),
            language=chance.choice([None, "eng"]),
            published_year=chance.choice([None, 1990, 1995, 1999, -700]),
            ratings_count=chance.randrange(3),
        )
        for _ in range(60)
    ]
    async with database.writing() as unit:
        unit.session.add_all(books)
        await unit.session.flush()
    return books


async def expected(database: Bound, where: str, order: str) -> list[int]:
    """The ids in the order that a plain ORDER BY gives."""
    async with database.reading() as session:
        return list(await session.scalars(text(f"SELECT id FROM books WHERE {where} ORDER BY {order}")))


def filled(template: str, shelf: Sequence[Book]) -> str:
    return template.format(author=shelf[0].author_id, middle=shelf[len(shelf) // 2].id)


@pytest.mark.parametrize("walk", WALKS, ids=["&".join(f"{name}={value}" for name, value in walk[0].items()) for walk in WALKS])
@pytest.mark.parametrize("limit", [3, 17])
async def test_a_walk_meets_each_row_once_and_in_order(
    client: AsyncClient, database: Bound, shelf: list[Book], walk: tuple[dict[str, str], str, str], limit: int
) -> None:
    parameters, where, order = walk
    asked = {name: filled(value, shelf) for name, value in parameters.items()}
    rows = await walked(client, "/v1/books", limit=limit, **asked)
    wanted = await expected(database, filled(where, shelf), order)
    assert wanted
    assert [row["id"] for row in rows] == wanted


@pytest.mark.parametrize("sort", ["note,-large,small,id", "-note,large,-small,-id"])
async def test_mixed_directions_and_two_nullable_keys(kinds: AsyncClient, database: Bound, sort: str) -> None:
    chance = random.Random(11)  # noqa: S311
    body = [
        {"note": chance.choice("ab"), "large": chance.choice([None, 1, 2]), "small": chance.choice([None, 1])} for _ in range(40)
    ]
    assert (await kinds.post(f"{KINDS}:batch", json={"data": body})).status_code == 201
    flip = sort.startswith("-")
    order = (
        "note DESC, large NULLS FIRST, small DESC NULLS LAST, id DESC"
        if flip
        else "note, large DESC NULLS LAST, small NULLS FIRST, id"
    )
    rows = await walked(kinds, KINDS, limit=3, sort=sort)
    async with database.reading() as session:
        wanted = list(await session.scalars(text(f"SELECT id FROM test_kinds ORDER BY {order}")))
    assert [row["id"] for row in rows] == wanted


async def test_rows_that_come_while_walking_disturb_no_other(client: AsyncClient, shelf: list[Book]) -> None:
    first = (await client.get("/v1/books", params={"limit": 20})).json()
    await BookFactory.create(published_year=3000)
    late = await BookFactory.create(published_year=-800)
    rest = await walked(client, "/v1/books", limit=20, cursor=first["next"])
    ids = [row["id"] for row in (*first["data"], *rest)]
    assert len(set(ids)) == len(ids)
    assert {book.id for book in shelf} | {late.id} == set(ids)


async def test_a_row_that_goes_while_walking_disturbs_no_other(client: AsyncClient, shelf: list[Book]) -> None:
    first = (await client.get("/v1/books", params={"limit": 20})).json()
    assert (await client.delete(f"/v1/books/{first['data'][-1]['id']}")).status_code == 204
    rest = await walked(client, "/v1/books", limit=20, cursor=first["next"])
    assert {row["id"] for row in (*first["data"], *rest)} == {book.id for book in shelf}


PREFIXES = [
    ("a\ud7ff", ["a\ud7ff", "a\ud7ffz", "a\ud7ff\U0010ffff"], ["a", "a\ue000", "a\ud7fe"]),
    ("a\U0001f600", ["a\U0001f600", "a\U0001f600b"], ["a\U0001f601", "a\U0001f5ff"]),
    ("a\U0010ffffb", ["a\U0010ffffb", "a\U0010ffffbc"], ["a\U0010ffffc"]),
    ("100%", ["100%", "100% wool"], ["1000", "100"]),
    ("a_", ["a_", "a_b"], ["ab", "aab"]),
]


@pytest.mark.parametrize(("prefix", "inside", "outside"), PREFIXES, ids=ascii)
async def test_a_prefix_holds_what_begins_with_it(kinds: AsyncClient, prefix: str, inside: list[str], outside: list[str]) -> None:
    await kinds.post(f"{KINDS}:batch", json={"data": [{"label": label} for label in (*inside, *outside)]})
    rows = (await kinds.get(KINDS, params={"label__startswith": prefix, "sort": "label"})).json()["data"]
    assert [row["label"] for row in rows] == sorted(inside)


async def test_several_keys_come_at_once_in_the_order_of_the_primary_key(client: AsyncClient) -> None:
    books = [await BookFactory.create(isbn13=f"978000000000{number}") for number in (2, 0, 1)]
    isbns = ",".join(["9780000000009", *sorted(str(book.isbn13) for book in books), "9780000000000"])
    answer = (await client.get("/v1/books", params={"isbn13__in": isbns, "limit": 1})).json()
    assert [row["id"] for row in answer["data"]] == sorted(book.id for book in books)
    assert answer["next"] is None


async def test_a_lookup_gives_the_row(client: AsyncClient) -> None:
    book = await BookFactory.create(isbn13="9780000000001")
    answer = (await client.get("/v1/books", params={"isbn13": "9780000000001"})).json()
    assert [row["id"] for row in answer["data"]] == [book.id]


async def test_fields_narrow_the_row_and_the_query(client: AsyncClient, queries: Queries, shelf: list[Book]) -> None:
    queries.clear()
    rows = (await client.get("/v1/books", params={"fields": "title,id", "limit": 2})).json()["data"]
    assert [list(row) for row in rows] == [["title", "id"], ["title", "id"]]
    assert len(queries) == 1
    assert "attributes" not in str(queries)
    assert "source" not in str(queries)


async def test_fields_narrow_a_single_row(client: AsyncClient, queries: Queries, shelf: list[Book]) -> None:
    queries.clear()
    assert (await client.get(f"/v1/books/{shelf[0].id}", params={"fields": "id"})).json() == {"id": shelf[0].id}
    assert "attributes" not in str(queries)


@pytest.mark.parametrize("more", [{}, {"fields": "title"}])
async def test_include_embeds_a_relation_by_one_more_query(
    client: AsyncClient, queries: Queries, shelf: list[Book], more: dict[str, str]
) -> None:
    queries.clear()
    rows = (await client.get("/v1/books", params={"include": "author", "limit": 50, **more})).json()["data"]
    by_id = {book.id: book for book in shelf}
    assert len(queries) == 2
    assert len(rows) == 50
    assert all(row["author"]["name"].startswith("Author") for row in rows)
    if not more:
        assert all(row["author"]["id"] == by_id[row["id"]].author_id for row in rows)


async def test_include_embeds_into_a_single_row(client: AsyncClient, shelf: list[Book]) -> None:
    row = (await client.get(f"/v1/books/{shelf[0].id}", params={"include": "author"})).json()
    assert row["author"]["id"] == shelf[0].author_id


async def test_a_capped_count_is_exact_below_the_cap(client: AsyncClient, shelf: list[Book]) -> None:
    answer = (await client.get("/v1/books", params={"count": "capped", "limit": 1})).json()
    assert answer["count"] == {"value": len(shelf), "exact": True}


async def test_a_capped_count_counts_the_question_only(client: AsyncClient, shelf: list[Book]) -> None:
    answer = (await client.get("/v1/books", params={"count": "capped", "published_year__gte": 1995})).json()
    assert answer["count"]["value"] == sum((book.published_year or 0) >= 1995 for book in shelf)


async def test_an_estimated_count_is_the_planners(client: AsyncClient, queries: Queries, shelf: list[Book]) -> None:
    queries.clear()
    answer = (await client.get("/v1/books", params={"count": "estimated"})).json()
    assert answer["count"]["exact"] is False
    assert answer["count"]["value"] >= 0
    assert len(queries) == 2
    assert "EXPLAIN" in str(queries)


@pytest.mark.parametrize("parameters", [{}, {"count": "none"}])
async def test_nothing_is_counted_unasked(client: AsyncClient, queries: Queries, parameters: dict[str, str]) -> None:
    answer = (await client.get("/v1/books", params=parameters)).json()
    assert "count" not in answer
    assert len(queries) == 1


async def test_the_link_leads_to_the_next_page(client: AsyncClient, shelf: list[Book]) -> None:
    first = await client.get("/v1/books", params={"limit": 40, "fields": "id"})
    second = await client.get(first.links["next"]["url"])
    assert len(second.json()["data"]) == len(shelf) - 40
    assert list(second.json()["data"][0]) == ["id"]


async def test_the_last_page_leads_nowhere(client: AsyncClient, shelf: list[Book]) -> None:
    answer = await client.get("/v1/books", params={"limit": len(shelf)})
    assert answer.json()["next"] is None
    assert "link" not in answer.headers


async def test_a_page_that_ends_with_its_last_row_has_no_next(client: AsyncClient, shelf: list[Book]) -> None:
    first = (await client.get("/v1/books", params={"limit": len(shelf) - 1})).json()
    second = (await client.get("/v1/books", params={"limit": 1, "cursor": first["next"]})).json()
    assert len(second["data"]) == 1
    assert second["next"] is None


async def test_the_contract_tells_what_is_served(client: AsyncClient, queries: Queries) -> None:
    contract: dict[str, Any] = (await client.get("/v1/books:contract")).json()
    lists = [one for one in contract["questions"] if one["filters"] == ["author_id="]]
    assert contract["table"] == "books"
    assert contract["default_order"] == ["-published_year", "-id"]
    assert [one["sorts"] for one in lists] == [["-published_year", "published_year"]]
    assert [one["index"] for one in lists] == ["ix_books_by_author"]
    assert not queries.sent
