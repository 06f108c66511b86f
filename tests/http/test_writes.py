"""Writes: what is answered 2xx is in the database, once; everything else is refused with a sentence and changes nothing."""

import asyncio
from typing import Any

import pytest
from httpx import AsyncClient
from sqlalchemy import func, select, text

from service.db import Database
from service.db.bound import Bound
from service.tables.authors import Author
from service.tables.books import Book
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.statements import Queries
from tests.http.conftest import KINDS, refused

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def author(database: Bound) -> Author:
    """Somebody to write books for."""
    return await AuthorFactory.create()


async def held(database: Database, model: type[Any] = Book) -> int:
    """How many rows there are."""
    async with database.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(model)) or 0)


async def test_create_answers_the_row_and_where_it_is(client: AsyncClient, author: Author) -> None:
    answer = await client.post("/v1/books", json={"title": "It", "author_id": author.id})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/books/{answer.json()['id']}"
    assert (await client.get(answer.headers["location"])).json() == answer.json()


async def test_the_database_gives_the_defaults(client: AsyncClient, author: Author) -> None:
    row = (await client.post("/v1/books", json={"title": "It", "author_id": author.id})).json()
    assert (row["ratings_count"], row["attributes"], row["source"], row["isbn13"]) == (0, {}, "api", None)
    assert len(row["source_key"]) == 36


async def test_a_change_touches_only_what_it_names(client: AsyncClient) -> None:
    book = await BookFactory.create(isbn13="9780000000002", attributes={"shelf": 1})
    answer = await client.patch(f"/v1/books/{book.id}", json={"isbn13": None, "title": "New"})
    row = (await client.get(f"/v1/books/{book.id}")).json()
    assert (answer.status_code, answer.content) == (204, b"")
    assert (row["isbn13"], row["title"], row["language"], row["attributes"]) == (None, "New", "eng", {"shelf": 1})


async def test_a_change_of_nothing_changes_nothing(client: AsyncClient, database: Bound) -> None:
    book = await BookFactory.create()
    assert (await client.patch(f"/v1/books/{book.id}", json={})).status_code == 204
    async with database.reading() as session:
        assert await session.scalar(select(Book.version).where(Book.id == book.id)) == 1


async def test_each_change_raises_the_version(client: AsyncClient, database: Bound) -> None:
    book = await BookFactory.create()
    await client.patch(f"/v1/books/{book.id}", json={"title": "New"})
    async with database.reading() as session:
        assert await session.scalar(select(Book.version).where(Book.id == book.id)) == 2


@pytest.mark.parametrize("member", ["id", "version", "created_at", "updated_at", "colour"])
async def test_a_member_that_clients_cant_write_is_refused(client: AsyncClient, queries: Queries, member: str) -> None:
    problem = refused(await client.patch("/v1/books/1", json={member: 7}), 422, "invalid-body")
    assert [error["member"] for error in problem["errors"]] == [member]
    assert not queries.sent


async def test_delete_removes_the_row(client: AsyncClient) -> None:
    book = await BookFactory.create()
    answer = await client.delete(f"/v1/books/{book.id}")
    assert (answer.status_code, answer.content) == (204, b"")
    refused(await client.get(f"/v1/books/{book.id}"), 404, "not-found")


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {"title": "x"}), ("PATCH", {}), ("DELETE", None)])
async def test_a_row_that_isnt_there_is_not_found(client: AsyncClient, method: str, body: object) -> None:
    problem = refused(await client.request(method, "/v1/books/0", json=body), 404, "not-found")
    assert problem["detail"] == "There is no 0 in books. It may have been deleted."


def silent(problem: dict[str, Any]) -> None:
    """No SQL, no constraint's name, no driver in it."""
    told = str(problem).lower()
    assert not [word for word in ("uq_", "fk_", "ix_", "insert", "asyncpg", "constraint", "sqlalc", "$1") if word in told]


async def test_a_duplicate_names_its_member(client: AsyncClient, author: Author) -> None:
    await BookFactory.create(isbn13="9780000000002")
    answer = await client.post("/v1/books", json={"title": "It", "author_id": author.id, "isbn13": "9780000000002"})
    problem = refused(answer, 409, "conflict")
    assert problem["fields"] == ["isbn13"]
    silent(problem)


async def test_a_duplicate_by_case_names_its_member(client: AsyncClient) -> None:
    await AuthorFactory.create(name="Émile")
    problem = refused(await client.post("/v1/authors", json={"name": "ÉMILE"}), 409, "conflict")
    assert problem["fields"] == ["name"]
    silent(problem)


async def test_a_duplicate_of_two_members_names_both(client: AsyncClient) -> None:
    await BookFactory.create(source="a", source_key="1")
    other = await BookFactory.create(source="a", source_key="2")
    problem = refused(await client.patch(f"/v1/books/{other.id}", json={"source_key": "1"}), 409, "conflict")
    assert problem["fields"] == ["source", "source_key"]


async def test_a_missing_reference_names_its_member(client: AsyncClient) -> None:
    problem = refused(await client.post("/v1/books", json={"title": "It", "author_id": 987654}), 422, "value-refused")
    assert problem["fields"] == ["author_id"]
    silent(problem)


async def test_a_row_that_others_refer_to_stays(client: AsyncClient) -> None:
    book = await BookFactory.create()
    problem = refused(await client.delete(f"/v1/authors/{book.author_id}"), 409, "conflict")
    assert "books still refer to it" in problem["detail"]
    assert (await client.get(f"/v1/authors/{book.author_id}")).status_code == 200
    silent(problem)


async def test_null_where_none_may_be_is_refused(kinds: AsyncClient, database: Bound) -> None:
    async with database.writing() as unit:
        await unit.session.execute(text("ALTER TABLE test_kinds ALTER COLUMN label SET NOT NULL"))
    problem = refused(await kinds.post(KINDS, json={"label": None}), 422, "value-refused")
    assert problem["fields"] == ["label"]


@pytest.mark.parametrize(
    ("member", "value"), [("exact", "1e400"), ("exact", "1234567890.5"), ("code", "longer"), ("word", "stormy")]
)
async def test_what_only_the_database_can_tell_is_refused_by_it(kinds: AsyncClient, member: str, value: object) -> None:
    silent(refused(await kinds.post(KINDS, json={member: value}), 422, "value-refused"))


async def test_a_value_too_large_for_its_index_is_refused(client: AsyncClient) -> None:
    name = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(9000))
    problem = refused(await client.post("/v1/authors", json={"name": name}), 422, "value-refused")
    assert "too large" in problem["detail"]
    silent(problem)


MISFITS = [
    (b'"author_id":9223372036854775808', "author_id", "an integer from"),
    (b'"author_id":99999999999999999999999', "author_id", "an integer from"),
    (b'"published_year":2147483648', "published_year", "an integer from"),
    (b'"published_year":-2147483649', "published_year", "an integer from"),
    (b'"title":"a\\u0000"', "title", "U+0000"),
    (b'"title":"\\ud800"', "title", "surrogate"),
    (b'"attributes":{"a":"\\ud800"}', "attributes", "surrogate"),
    (b'"attributes":{"\\udfff":1}', "attributes", "surrogate"),
    (b'"attributes":{"a":["\\u0000"]}', "attributes", "U+0000"),
    (b'"attributes":{"a":NaN}', "attributes", "NaN"),
    (b'"attributes":{"a":1e400}', "attributes", "1.8e308"),
    (b'"attributes":{"a":-Infinity}', "attributes", "infinity"),
    (b'"attributes":' + b'{"a":' * 101 + b"1" + b"}" * 101, "attributes", "100 levels"),
    (b'"attributes":' + b'{"a":' * 400 + b"1" + b"}" * 400, "attributes", "100 levels"),
]


@pytest.mark.parametrize(("body", "member", "said"), MISFITS, ids=[str(body[:40]) for body, _, _ in MISFITS])
async def test_a_value_that_cant_be_stored_is_refused_by_name(
    client: AsyncClient, queries: Queries, body: bytes, member: str, said: str
) -> None:
    content = b'{"title":"It","author_id":1,' + body + b"}"
    problem = refused(await client.post("/v1/books", content=content, headers=JSON), 422, "invalid-body")
    assert [error["member"] for error in problem["errors"]] == [member]
    assert said in problem["detail"]
    assert not queries.sent


MALFORMED = [b"nojson", b"{", b"\xff\xfe", b'{"name":"\xff"}', b"[" * 100_000, b'{"name":"a"}}', b'{"n":' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("body", MALFORMED, ids=[str(body[:20]) for body in MALFORMED])
async def test_a_body_that_is_no_json_is_refused(client: AsyncClient, queries: Queries, body: bytes) -> None:
    problem = refused(await client.post("/v1/authors", content=body, headers=JSON), 400, "malformed-body")
    assert "Send UTF-8 JSON" in problem["detail"]
    assert not queries.sent


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"7", b'"name"', b"{}", b'{"\\ud800":1}', b'{"name":7}', b'{"name":null}'])
async def test_json_of_another_shape_is_refused(client: AsyncClient, queries: Queries, body: bytes) -> None:
    assert refused(await client.post("/v1/authors", content=body, headers=JSON), 422, "invalid-body")["errors"]
    assert not queries.sent


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
async def test_another_content_type_is_refused(client: AsyncClient, queries: Queries, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    refused(await client.post("/v1/authors", content=b'{"name":"x"}', headers=headers), 415, "unsupported-media-type")
    assert not queries.sent


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/merge-patch+json"])
async def test_json_by_its_other_names_is_taken(client: AsyncClient, kind: str) -> None:
    answer = await client.post("/v1/authors", content=b'{"name":"x"}', headers={"Content-Type": kind})
    assert answer.status_code == 201


async def test_json_numbers_keep_their_digits(client: AsyncClient, author: Author) -> None:
    attributes = '{"big": 123456789012345678901234567890, "half": 0.5, "text": "\\ud83d\\ude00"}'
    content = f'{{"title": "It", "author_id": {author.id}, "attributes": {attributes}}}'
    created = await client.post("/v1/books", content=content, headers=JSON)
    read = await client.get(created.headers["location"])
    listed = await client.get("/v1/books")
    for answer in (created.json(), read.json(), listed.json()["data"][0]):
        assert answer["attributes"] == {"big": 123456789012345678901234567890, "half": 0.5, "text": "\U0001f600"}


async def test_json_as_deep_as_is_taken_comes_back(client: AsyncClient, author: Author) -> None:
    deep: dict[str, Any] = {}
    for _ in range(98):
        deep = {"a": deep}
    created = await client.post("/v1/books", json={"title": "It", "author_id": author.id, "attributes": {**deep, "n": 10**30}})
    listed = await client.get("/v1/books")
    assert created.status_code == 201
    assert listed.json()["data"][0]["attributes"] == {**deep, "n": 10**30}


async def test_a_batch_is_all_there(client: AsyncClient, database: Bound, author: Author) -> None:
    rows = [{"title": "A", "author_id": author.id, "ratings_count": 7}, {"title": "B", "author_id": author.id, "language": "fre"}]
    answer = await client.post("/v1/books:batch", json={"data": rows})
    assert answer.status_code == 201
    told = [(row["title"], row["ratings_count"], row["language"]) for row in answer.json()["data"]]
    assert told == [("A", 7, None), ("B", 0, "fre")]
    assert await held(database) == 2


async def test_an_empty_batch_is_nothing(client: AsyncClient, queries: Queries) -> None:
    answer = await client.post("/v1/books:batch", json={"data": []})
    assert (answer.status_code, answer.json()) == (201, {"data": []})
    assert not queries.sent


async def test_a_batch_tells_every_wrong_row(client: AsyncClient, queries: Queries) -> None:
    rows = [{"title": "A", "author_id": 1}, {"title": 7, "author_id": 1}, {"author_id": 1, "colour": "red"}]
    problem = refused(await client.post("/v1/books:batch", json={"data": rows}), 422, "invalid-body")
    assert [error["member"] for error in problem["errors"]] == ["data.1.title", "data.2.title", "data.2.colour"]
    assert not queries.sent


async def test_a_batch_tells_every_value_that_cant_be_stored(client: AsyncClient, queries: Queries) -> None:
    rows = [{"title": "\0", "author_id": 1}, {"title": "B", "author_id": 2**70}]
    problem = refused(await client.post("/v1/books:batch", json={"data": rows}), 422, "invalid-body")
    assert [error["member"] for error in problem["errors"]] == ["data.0.title", "data.1.author_id"]
    assert not queries.sent


@pytest.mark.parametrize(
    ("spoilt", "status"),
    [({"isbn13": "9780306406157"}, 409), ({"author_id": 987654}, 422)],
)
async def test_a_batch_is_all_or_nothing(
    client: AsyncClient, database: Bound, author: Author, spoilt: dict[str, Any], status: int
) -> None:
    row = {"title": "A", "author_id": author.id}
    rows = [{**row, "isbn13": "9780306406157"}, row, {**row, **spoilt}, {**row, "author_id": 0}]
    problem = refused(
        await client.post("/v1/books:batch", json={"data": rows}), status, "conflict" if status == 409 else "value-refused"
    )
    assert problem["row"] == 2
    assert await held(database) == 0
    silent(problem)


async def test_a_batch_that_is_too_long_is_refused(client: AsyncClient, queries: Queries) -> None:
    problem = refused(await client.post("/v1/authors:batch", json={"data": [{"name": "x"}] * 1001}), 422, "invalid-body")
    assert "1000 rows" in problem["detail"]
    assert not queries.sent


async def test_the_longest_batch_is_taken(client: AsyncClient, queries: Queries) -> None:
    names = [f"Name {number}" for number in range(1000)]
    answer = await client.post("/v1/authors:batch", json={"data": [{"name": name} for name in names]})
    assert [row["name"] for row in answer.json()["data"]] == names
    assert [row["id"] for row in answer.json()["data"]] == sorted(row["id"] for row in answer.json()["data"])


@pytest.fixture
def rivals(committing_client: AsyncClient) -> AsyncClient:
    """A client whose requests ride connections of their own."""
    return committing_client


async def test_of_two_creators_of_one_key_one_wins(rivals: AsyncClient, committed: Database) -> None:
    answers = await asyncio.gather(*(rivals.post("/v1/authors", json={"name": name}) for name in ("Emile", "EMILE")))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert await held(committed, Author) == 1


async def test_a_created_row_is_committed_when_it_is_answered(rivals: AsyncClient, committed: Database) -> None:
    assert (await rivals.post("/v1/authors", json={"name": "Emile"})).status_code == 201
    assert await held(committed, Author) == 1


async def test_a_commit_that_fails_is_never_answered_as_done(rivals: AsyncClient, committed: Database) -> None:
    async def spoil(unit: Any) -> None:
        await unit.session.execute(text("SELECT 1 / 0"))

    committed.before_commit.append(spoil)
    refused(await rivals.post("/v1/authors", json={"name": "Emile"}), 422, "value-refused")
    assert await held(committed, Author) == 0


async def test_a_constraint_that_speaks_at_commit_is_answered(rivals: AsyncClient, committed: Database) -> None:
    async def defer(unit: Any) -> None:
        await unit.session.execute(text("CREATE TEMP TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP"))
        await unit.session.execute(text("INSERT INTO late VALUES (1), (1)"))

    committed.before_commit.append(defer)
    refused(await rivals.post("/v1/authors", json={"name": "Emile"}), 409, "conflict")
    assert await held(committed, Author) == 0
