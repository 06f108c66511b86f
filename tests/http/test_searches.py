"""Searches over HTTP: all that matches and nothing else, in pages, or a refusal; never a part."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import bindparam, text

from service.app import create_app
from service.contract.search import pattern
from service.db import Database
from service.db.bound import Bound
from service.settings import Settings
from service.tables.books import Book
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of
from tests.fixtures.statements import Queries
from tests.http.conftest import refused, walked

BOOKS = "/v1/books"
MOST = 12
PLAIN = "abcABC019 éÉдДÑñßİıſ"
STRANGE = "%_\\'\"$:;{}[]()-.\n\t�😀夜"
TITLES = st.text(alphabet=st.sampled_from(PLAIN + STRANGE), max_size=20)
WORDS = st.text(alphabet=st.sampled_from("abAB"), min_size=3, max_size=4)


def searchable(sought: str) -> bool:
    """Whether a text has what the index keeps."""
    try:
        pattern(sought)
    except ValueError:
        return False
    return True


@pytest.fixture
async def few(settings: Settings, database: Bound) -> Any:
    """A client of a service whose searches find few rows at the most."""
    app = create_app(settings.model_copy(update={"search_most": MOST}), database)
    async with client_of(app) as made:
        yield made


async def titled(*titles: str, **values: Any) -> list[int]:
    """Books with these titles; their ids."""
    author = await AuthorFactory.create()
    return [(await BookFactory.create(title=title, author=author, **values)).id for title in titles]


TITLED = {
    "whatever the case": ("ÉCOLE", ["L'école du soir", "École"], ["Ecole"]),
    "in the middle of a word": ("ard", ["The Garden", "ARDENNES"], ["Art"]),
    "a percent sign is one": ("100% wool", ["100% Wool"], ["100 wool", "1000 wool"]),
    "an underscore is one": ("snake_case", ["Snake_Case"], ["snake case", "snakeXcase"]),
    "a backslash is one": ("back\\slash", ["Back\\Slash"], ["backslash", "back\\\\slash"]),
    "a backslash at the end": ("slash\\", ["back slash\\"], ["slash"]),
    "quotes": ('it\'s "sold"', ['It\'s "Sold"'], ["its sold", "it''s \"sold\""]),
    "other alphabets": ("жизнь", ["Долгая ЖИЗНЬ"], ["жиз нь", "дом"]),
    "a placeholder is none": ("$1 abc :abc %s __[POSTCOMPILE_abc]", ["$1 ABC :abc %s __[POSTCOMPILE_abc]"], ["abc"]),
    "blanks count": ("of the", ["Of the sea"], ["of  the sea"]),
}


@pytest.mark.parametrize("case", TITLED)
async def test_a_part_of_the_text_is_found(client: AsyncClient, case: str) -> None:
    sought, matching, others = TITLED[case]
    ids = await titled(*matching)
    await titled(*others)
    answer = await client.get(BOOKS, params={"title__icontains": sought})
    assert answer.status_code == 200, answer.text
    assert [row["id"] for row in answer.json()["data"]] == ids
    assert answer.json()["next"] is None


ATTRIBUTED: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "a member": ({"binding": "cloth"}, [{"binding": "cloth", "pages": 7}], [{"binding": "paper"}, {"pages": "cloth"}, {}]),
    "several members": ({"a": 1, "b": None}, [{"a": 1.0, "b": None, "c": 2}], [{"a": 1}, {"b": None}]),
    "inside": ({"a": {"b": ["x"]}}, [{"a": {"b": ["y", "x"]}}], [{"a": {"b": "y"}}, {"a": ["x"]}]),
    "an empty part beside a value": ({"a": {}, "b": 1}, [{"a": {"c": 1}, "b": 1}], [{"b": 1}, {"a": 1, "b": 1}]),
    "quotes and backslashes": ({"it's": 'a "b" \\ %_'}, [{"it's": 'a "b" \\ %_'}], [{"it's": "a"}]),
    "a large number": ({"n": 12345678901234567890123}, [{"n": 12345678901234567890123}], [{"n": 12345678901234567890124}]),
}


@pytest.mark.parametrize("case", ATTRIBUTED)
async def test_json_that_contains_an_object_is_found(client: AsyncClient, case: str) -> None:
    sought, matching, others = ATTRIBUTED[case]
    ids = [found for value in matching for found in await titled("It", attributes=value)]
    for value in others:
        await titled("Other", attributes=value)
    answer = await client.get(BOOKS, params={"attributes__has": json.dumps(sought)})
    assert answer.status_code == 200, answer.text
    assert [row["id"] for row in answer.json()["data"]] == ids


async def test_pages_hold_each_row_once_by_primary_key(few: AsyncClient) -> None:
    ids = await titled(*(f"Garden {number}" for number in range(MOST)))
    rows = await walked(few, BOOKS, limit=5, title__icontains="garden", fields="id,title", include="author")
    assert [row["id"] for row in rows] == ids
    assert rows[0].keys() == {"id", "title", "author"}


async def test_too_much_is_refused_whole(few: AsyncClient) -> None:
    first, *_ = await titled(*(f"Garden {number}" for number in range(MOST)))
    page = (await few.get(BOOKS, params={"title__icontains": "garden", "limit": 5})).json()
    last = (await few.get(BOOKS, params={"title__icontains": "garden", "limit": 5, "cursor": page["next"]})).json()
    await titled("One garden more")
    for parameters in ({}, {"cursor": page["next"]}, {"cursor": last["next"]}, {"limit": 1}, {"count": "capped"}):
        problem = refused(await few.get(BOOKS, params={"title__icontains": "garden", **parameters}), 422, "too-many-matches")
        assert problem["most"] == MOST
        assert "Narrow it" in problem["detail"]
    assert (await few.get(BOOKS, params={"title__icontains": "garden 11"})).json()["data"][0]["id"] > first


@pytest.mark.parametrize(("count", "exact"), [("capped", True), ("estimated", False)])
async def test_what_was_found_is_counted(client: AsyncClient, queries: Queries, count: str, *, exact: bool) -> None:
    await titled("Garden", "Gardens", "Desert")
    queries.clear()
    parameters = {"title__icontains": "garden", "limit": "1", "count": count}
    answer = (await client.get(BOOKS, params=parameters)).json()
    assert answer["count"]["exact"] == exact
    assert len(queries) == (1 if exact else 2)
    if exact:
        assert answer["count"]["value"] == 2
    after = (await client.get(BOOKS, params={**parameters, "cursor": answer["next"]})).json()
    assert after["count"] == answer["count"]
    assert after["next"] is None


async def test_a_page_after_the_last_row_is_counted_too(client: AsyncClient, database: Bound) -> None:
    await titled("Garden", "Gardens")
    parameters = {"title__icontains": "garden", "limit": "1", "count": "capped"}
    first = (await client.get(BOOKS, params=parameters)).json()
    async with database.writing() as unit:
        await unit.session.execute(text("DELETE FROM books WHERE title = 'Gardens'"))
    after = (await client.get(BOOKS, params={**parameters, "cursor": first["next"]})).json()
    assert after == {"data": [], "next": None, "count": {"value": 1, "exact": True}}


async def test_nothing_found_is_an_empty_page(client: AsyncClient) -> None:
    await titled("Garden")
    answer = await client.get(BOOKS, params={"title__icontains": "desert", "count": "capped"})
    assert answer.json() == {"data": [], "next": None, "count": {"value": 0, "exact": True}}


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("title__icontains", "", "3 letters or digits in a row"),
        ("title__icontains", "ab", "3 letters or digits in a row"),
        ("title__icontains", "a-b c_d %%%", "3 letters or digits in a row"),
        ("title__icontains", "½½½", "3 letters or digits in a row"),
        ("title__icontains", "abc\0", "U+0000"),
        ("title__icontains", "a" * 201, "200 characters"),
        ("published_year__icontains", "199", "isn't text"),
        ("attributes__icontains", "abc", "isn't text"),
        ("attributes__has", "", "JSON object"),
        ("attributes__has", "{}", "nothing to look for"),
        ("attributes__has", '{"a": {}, "b": [[], {}]}', "nothing to look for"),
        ("attributes__has", "[1]", "JSON object"),
        ("attributes__has", '"a"', "JSON object"),
        ("attributes__has", "{a: 1}", "JSON object"),
        ("attributes__has", '{"a": NaN}', "NaN"),
        ("attributes__has", '{"a": 1e999}', "infinity"),
        ("attributes__has", '{"a": "\\u0000"}', "U+0000"),
        ("attributes__has", '{"a": "\\ud800"}', "surrogate"),
        ("attributes__has", '{"a":' * 30 + "1" + "}" * 30, "nested more than"),
        ("attributes__has", '{"a":' + "[" * 1500 + "]" * 400, "JSON object"),
        ("attributes__has", '{"a": "' + "a" * 2000 + '"}', "2000 characters"),
        ("title__has", '{"a": 1}', "isn't JSON"),
        ("title__folded__icontains", "abc", "unknown parameter"),
        ("nothing__icontains", "abc", "unknown parameter"),
    ],
)
async def test_what_no_index_could_look_for_is_refused(
    client: AsyncClient, queries: Queries, name: str, value: str, why: str
) -> None:
    problem = refused(await client.get(BOOKS, params={name: value}), 422, "invalid-question")
    assert [error["parameter"] for error in problem["errors"]] == [name]
    assert why in problem["detail"]
    assert len(queries) == 0


@pytest.mark.parametrize(
    "besides",
    [{"language": "eng"}, {"sort": "id"}, {"id__gt": "7"}, {"id__in": "1,2"}, {"attributes__has": '{"a":1}'}],
    ids=lambda besides: next(iter(besides)),
)
async def test_a_search_stands_alone(client: AsyncClient, queries: Queries, besides: dict[str, str]) -> None:
    problem = refused(await client.get(BOOKS, params={"title__icontains": "garden", **besides}), 400, "not-served")
    assert "title__icontains=" in problem["asked"]
    assert "title__icontains=" in problem["served"]
    assert problem["nearest"].startswith("leave out ")
    assert problem["index"] is None
    assert len(queries) == 0


async def test_a_column_without_such_an_index_is_refused_with_the_line(client: AsyncClient) -> None:
    problem = refused(await client.get(BOOKS, params={"isbn13__icontains": "978"}), 400, "not-served")
    assert problem["index"] == (
        'Index("ix_books_search_isbn13", folded(isbn13).label("folded"), postgresql_using="gin", '
        'postgresql_ops={"folded": "gin_trgm_ops"})'
    )


async def test_a_cursor_belongs_to_its_search(client: AsyncClient) -> None:
    await titled("Garden", "Gardens")
    cursor = (await client.get(BOOKS, params={"title__icontains": "garden", "limit": 1})).json()["next"]
    for other in ({"title__icontains": "gardens"}, {"sort": "id"}, {"attributes__has": '{"garden": 1}'}):
        refused(await client.get(BOOKS, params={**other, "cursor": cursor}), 422, "invalid-cursor")


async def test_one_that_takes_too_long_is_refused_as_too_much(settings: Settings, database_url: str, committed: Database) -> None:
    slow = Database.connect(database_url, settings.model_copy(update={"read_timeout_ms": 300}))
    async with committed.writing() as unit, client_of(create_app(settings, slow)) as client:
        await unit.session.execute(text("LOCK TABLE books IN ACCESS EXCLUSIVE MODE"))
        problem = refused(await client.get(BOOKS, params={"title__icontains": "garden"}), 422, "too-many-matches")
        refused(await client.get(BOOKS), 503, "timed-out")
    await slow.close()
    assert "longer than it may" in problem["detail"]
    assert "Narrow it" in problem["detail"]


async def test_the_contract_and_openapi_tell_of_searches(client: AsyncClient, app: FastAPI) -> None:
    questions = (await client.get(f"{BOOKS}:contract")).json()["questions"]
    searches = {(one["filters"][0], one["index"]) for one in questions if one["kind"] == "search"}
    assert searches == {
        ("title__icontains=", "ix_books_search_title"),
        ("attributes__has=", "ix_books_search_attributes"),
    }
    told = app.openapi()["paths"][BOOKS]["get"]
    assert {"title__icontains", "attributes__has"} <= {one["name"] for one in told["parameters"]}
    assert "- `title__icontains=`" in told["description"]


@given(titles=st.lists(TITLES, min_size=1, max_size=8), word=WORDS, before=TITLES, after=TITLES, data=st.data())
@effort(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_search_finds_what_plain_sql_finds(
    client: AsyncClient, database: Bound, *, titles: list[str], word: str, before: str, after: str, data: st.DataObject
) -> None:
    author = await AuthorFactory.create()
    async with database.writing() as unit:
        await unit.session.execute(text("DELETE FROM books"))
        unit.session.add_all(Book(author_id=author.id, title=f"{before}{word}{title}") for title in titles)
        unit.session.add_all(Book(author_id=author.id, title=title) for title in titles)
    whole = f"{before}{word}{titles[0]}"
    start = data.draw(st.integers(0, len(before)))
    sought = data.draw(
        st.sampled_from([whole, whole[start:], before + word + after, word, whole.upper(), whole[start:].swapcase()])
    )
    oracle = text(
        'SELECT id FROM books WHERE position(lower(:sought COLLATE "default") IN lower(title COLLATE "default")) > 0 ORDER BY id'
    ).bindparams(bindparam("sought", sought))
    async with database.reading() as session:
        expected = list(await session.scalars(oracle))
    answer = await client.get(BOOKS, params={"title__icontains": sought})
    assert answer.status_code == 200 or not searchable(sought), answer.text
    if answer.status_code == 200:
        assert [row["id"] for row in answer.json()["data"]] == expected
