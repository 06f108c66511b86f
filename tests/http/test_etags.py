"""ETags, and conditional requests: 304, 412, 428; by the express lane, by FastAPI's routes, and in units of work alike."""

import asyncio
import datetime
import re
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, field_serializer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.contract.cursor import Signer
from service.db import Database
from service.db.bound import Bound
from service.db.unit import Unit
from service.db.version import Version
from service.errors import InvalidQuestion, PreconditionRequired
from service.http import problems
from service.http.etags import Etags, is_known
from service.http.serve import serve
from service.http.uses import Service
from service.settings import Settings
from service.tables.authors import AuthorRead, Authors, AuthorWrite
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of, knowing
from tests.fixtures.keys import bearer, granted
from tests.fixtures.statements import Queries
from tests.http.conftest import refused
from tests.http.test_express import both, same

STRONG = re.compile(r'"[0-9A-Za-z+/]{32}\.[0-9A-Za-z+/]{12}"')
WEAK = re.compile(r'W/"[0-9A-Za-z+/]{24}"')
NOW = datetime.datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=datetime.UTC)
ETAGS = Etags((b"new" * 11, b"old" * 11))
VIEW = b"view"
AUTHORS, BOOKS = "/v1/authors", "/v1/books"

moments = st.datetimes(timezones=st.just(datetime.UTC))


async def nothing(_: Unit) -> None:
    """A hook, so that writes are units of work."""


@pytest.fixture(params=["one statement", "unit of work"])
async def author(request: pytest.FixtureRequest, client: AsyncClient, database: Bound) -> str:
    """The path of an author, which is changed in either way."""
    if request.param == "unit of work":
        database.after_commit.append(nothing)
    return f"{AUTHORS}/{(await AuthorFactory.create()).id}"


async def etag_of(client: AsyncClient, path: str) -> str:
    """What a row's ETag is."""
    return str((await client.get(path)).headers["etag"])


async def sent(client: AsyncClient, method: str, path: str, **headers: str) -> Response:
    """A request to change or delete an author, under conditions."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.request(method, path, json={"name": "Another"} if method == "PATCH" else None, headers=given)


@given(number=st.integers(1, 2**62), moment=moments)
def test_a_version_is_sealed_and_comes_out_again(number: int, moment: datetime.datetime) -> None:
    tag = ETAGS.row(Version(number, moment), VIEW)
    assert ETAGS.version(tag) == Version(number, moment)
    assert ETAGS.version(tag.replace(b"view", b"other")) == Version(number, moment)


def test_what_was_changed_or_made_elsewhere_stands_for_nothing() -> None:
    tag = ETAGS.row(Version(7, NOW), VIEW)
    assert Etags((b"old" * 11,)).version(tag) is None
    assert ETAGS.version(Etags((b"old" * 11,)).row(Version(7, NOW), VIEW)) == Version(7, NOW)
    for at in range(1, 33):
        other = b"A" if tag[at : at + 1] != b"A" else b"B"
        assert ETAGS.version(tag[:at] + other + tag[at + 1 :]) is None
    for wrong in (b"", b'""', b"*", b'"abc"', b"W/" + tag, tag[1:-1], tag + tag):
        assert ETAGS.version(wrong) is None


def test_what_hides_the_time_shows_nothing_of_it() -> None:
    """Versions of the same row, one after the other, have nothing in common."""
    tags = [ETAGS.row(Version(number, NOW), VIEW)[1:33] for number in range(100)]
    columns = [len({tag[at] for tag in tags}) for at in range(32)]
    assert min(columns) > 20


def scope(**fields: str) -> dict[str, Any]:
    """A request with headers."""
    headers = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
    return {"headers": headers, "state": {"fields": dict(headers)}}


@pytest.mark.parametrize(
    ("header", "etag", "known"),
    [
        ('"a"', b'"a"', True),
        ('W/"a"', b'"a"', True),
        ('"a"', b'W/"a"', True),
        ('"b", "a"', b'"a"', True),
        (',"b",,\t"a" ,', b'"a"', True),
        ('"b,c", "a"', b'"a"', True),
        ("*", b'"a"', True),
        (" * ", b'"a"', True),
        ('"b"', b'"a"', False),
        ('"A"', b'"a"', False),
        ("a", b'"a"', False),
        ('"a" "b"', b'"a"', False),
        ('*, "a"', b'"a"', False),
        ('w/"a"', b'"a"', False),
        ("", b'"a"', False),
        ('"', b'"a"', False),
    ],
)
def test_what_a_client_has_is_compared_weakly(header: str, etag: bytes, known: bool) -> None:
    assert is_known(scope(if_none_match=header), etag) is known


def test_a_header_in_several_lines_is_one_list() -> None:
    headers = [(b"if-none-match", b'"a"'), (b"if-none-match", b'"b"')]
    for etag in (b'"a"', b'"b"'):
        assert is_known({"headers": headers, "state": {"fields": dict(headers)}}, etag)


def test_what_a_write_is_meant_for() -> None:
    first, second = Version(1, NOW), Version(2, NOW)
    tags = [ETAGS.row(version, VIEW).decode() for version in (first, second)]
    assert not ETAGS.match(scope(), "books")
    assert not ETAGS.match(scope(if_match="*"), "books", demanded=True)
    assert ETAGS.match(scope(if_match=", ".join(tags)), "books").any_of == (first, second)
    assert ETAGS.match(scope(if_match=f'"abc", {tags[0]}'), "books").one == first
    assert ETAGS.match(scope(if_match=f"W/{tags[0]}"), "books").any_of == ()
    assert ETAGS.match(scope(if_none_match=f"W/{tags[0]}, {tags[1]}"), "books").none_of == (first, second)
    assert ETAGS.match(scope(if_none_match="*"), "books").absent
    with pytest.raises(PreconditionRequired, match="Rows of books are changed only by who says"):
        ETAGS.match(scope(if_none_match=tags[0]), "books", demanded=True)
    for wrong in ("abc", "", '"a" "b"', '*, "a"', '"a'):
        with pytest.raises(InvalidQuestion, match="If-Match: send ETags as they were answered, with their quotes"):
            ETAGS.match(scope(if_match=wrong), "books")


async def test_a_row_that_is_known_is_not_sent_again(settings: Settings, database: Bound) -> None:
    book = await BookFactory.create()
    async with both(settings, database) as clients:
        for url in (
            f"{BOOKS}/{book.id}",
            f"{BOOKS}/{book.id}?fields=title",
            f"{BOOKS}/{book.id}?include=author",
            f"{BOOKS}?limit=1",
        ):
            etag = (await same(clients, url)).headers["etag"]
            assert (WEAK if url.startswith(f"{BOOKS}?") else STRONG).fullmatch(etag)
            for client in clients:
                client.headers["if-none-match"] = f'"other", {etag}'
            known = await same(clients, url)
            assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
            assert known.headers["cache-control"] == "private, no-cache"
            assert known.headers["vary"] == "Authorization"
            assert not {"content-type", "content-length"} & known.headers.keys()
            for client in clients:
                assert (await client.head(url)).status_code == 304
                client.headers["if-none-match"] = '"other"'
            assert (await same(clients, url)).status_code == 200
            for client in clients:
                del client.headers["if-none-match"]


async def test_each_view_of_a_row_has_an_etag_of_its_own(client: AsyncClient) -> None:
    book = await BookFactory.create()
    queries = ("", "?fields=id", "?fields=id,title", "?fields=title,id", "?include=author", "?fields=id&include=author")
    etags = {await etag_of(client, f"{BOOKS}/{book.id}{query}") for query in queries}
    assert len(etags) == len(queries)
    assert len({etag[1:33] for etag in etags}) == 1


async def test_a_row_that_is_written_in_other_bytes_has_another_etag(client: AsyncClient, database: Bound) -> None:
    """PostgreSQL writes JSON by itself, until a path is withdrawn; from then on Python does."""
    book = await BookFactory.create(attributes={"pages": 1.0, "of": "paper"})
    paths = [f"{BOOKS}/{book.id}{query}" for query in ("", "?fields=id,attributes", "?fields=id,title")]
    before = [await client.get(path) for path in paths]
    async with database.writing() as unit:
        await unit.session.execute(text("DROP INDEX ix_books_by_author"))
    await database.catalogue.refresh(database)
    after = [await client.get(path) for path in paths]
    assert [one.content == other.content for one, other in zip(before, after, strict=True)] == [False, False, True]
    assert [one.headers["etag"] == other.headers["etag"] for one, other in zip(before, after, strict=True)] == [False, False, True]


async def test_a_related_row_that_changes_is_noticed(client: AsyncClient) -> None:
    book = await BookFactory.create()
    paths = (f"{BOOKS}/{book.id}", f"{BOOKS}/{book.id}?include=author")
    before = [await etag_of(client, path) for path in paths]
    await client.patch(f"{AUTHORS}/{book.author_id}", json={"name": "Another"})
    after = [await etag_of(client, path) for path in paths]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


async def test_all_keys_that_see_a_row_see_the_same_etag(client: AsyncClient, database: Bound) -> None:
    member = (await client.post("/v1/members", json={"name": "Ann", "email": "ann@example.org"})).json()["id"]
    theirs = bearer(await granted(database, "members:read", "members:write", within={"member_id": str(member)}))
    anothers = bearer(await granted(database, "members:read", "members:write", within={"member_id": str(member + 1)}))
    etag = await etag_of(client, f"/v1/members/{member}")
    assert (await client.get(f"/v1/members/{member}", headers=theirs)).headers["etag"] == etag
    for name, value in (("if-none-match", etag), ("if-match", etag), ("if-none-match", "*"), ("if-match", '"x"'), ("x-none", "")):
        refused(await client.get(f"/v1/members/{member}", headers={**anothers, name: value}), 404, "not-found")
        sent = await client.patch(f"/v1/members/{member}", json={"name": "B"}, headers={**anothers, name: value})
        refused(sent, 404, "not-found")
    refused(await client.patch(f"/v1/members/{member}", json={}, headers={**theirs, "if-match": '"x"'}), 412, "precondition-failed")
    changed = await client.patch(f"/v1/members/{member}", json={"name": "Anna"}, headers={**theirs, "if-match": etag})
    assert changed.status_code == 204
    assert changed.headers["etag"] == await etag_of(client, f"/v1/members/{member}")


async def test_a_list_changes_with_its_rows_and_not_by_itself(client: AsyncClient) -> None:
    books = [await BookFactory.create() for _ in range(3)]
    url = f"{BOOKS}?sort=id&limit=2"
    first = await client.get(url)
    assert first.json()["next"]
    assert (await client.get(url)).headers["etag"] == first.headers["etag"]
    await client.patch(f"{BOOKS}/{books[2].id}", json={"title": "Not on this page"})
    assert (await client.get(url)).headers["etag"] == first.headers["etag"]
    await client.patch(f"{BOOKS}/{books[0].id}", json={"title": "On it"})
    changed = await client.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (changed.status_code, changed.headers["etag"] == first.headers["etag"]) == (200, False)


async def test_a_read_may_ask_for_one_state_only(client: AsyncClient) -> None:
    book = await BookFactory.create()
    path = f"{BOOKS}/{book.id}"
    etag, listed = await etag_of(client, path), (await client.get(BOOKS)).headers["etag"]
    assert (await client.get(path, headers={"if-match": etag})).status_code == 200
    assert (await client.get(path, headers={"if-match": etag, "if-none-match": etag})).status_code == 304
    assert (await client.get(BOOKS, headers={"if-match": "*"})).status_code == 200
    for url, wrong in ((path, '"x"'), (path, f"W/{etag}"), (BOOKS, listed)):
        refused(await client.get(url, headers={"if-match": wrong, "if-none-match": "*"}), 412, "precondition-failed")
    refused(await client.get(path, headers={"if-match": "x"}), 422, "invalid-question")
    refused(await client.get(f"{BOOKS}/0", headers={"if-match": "*", "if-none-match": "*"}), 404, "not-found")
    assert (await client.get(path, headers={"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"})).status_code == 200


async def test_a_write_answers_the_etag_that_a_read_does(client: AsyncClient, database: Bound) -> None:
    for _ in range(2):
        made = await client.post(AUTHORS, json={"name": f"Author {len(database.after_commit)}"})
        path = made.headers["location"]
        assert made.headers["etag"] == await etag_of(client, path)
        changed = await client.patch(path, json={"name": f"Changed {len(database.after_commit)}"})
        assert made.headers["etag"] != changed.headers["etag"] == await etag_of(client, path)
        again = await client.patch(path, json={"name": f"Changed {len(database.after_commit)}"})
        unsaid = await client.patch(path, json={})
        assert again.headers["etag"] == unsaid.headers["etag"] == changed.headers["etag"]
        database.after_commit.append(nothing)


async def test_a_replayed_answer_has_its_first_etag(client: AsyncClient, database: Bound) -> None:
    for number in range(2):
        post = {"json": {"name": f"Author {number}"}, "headers": {"idempotency-key": f"key-{number}"}}
        first = await client.post(AUTHORS, **post)  # type: ignore[arg-type]
        await client.patch(first.headers["location"], json={"name": f"Changed {number}"})
        again = await client.post(AUTHORS, **post)  # type: ignore[arg-type]
        assert (again.headers["idempotency-replayed"], again.headers["etag"]) == ("true", first.headers["etag"])
        assert "row-version" not in again.headers
        refused(await sent(client, "PATCH", first.headers["location"], if_match=again.headers["etag"]), 412, "precondition-failed")
        database.after_commit.append(nothing)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_write_is_done_in_the_state_that_is_meant(client: AsyncClient, author: str, method: str) -> None:
    old = await etag_of(client, author)
    await client.patch(author, json={"name": "Changed meanwhile"})
    etag, narrow = await etag_of(client, author), await etag_of(client, f"{author}?fields=name")
    for wrong in (old, f'{old}, "x"', f"W/{etag}", '"x"', etag.upper()):
        problem = refused(await sent(client, method, author, if_match=wrong), 412, "precondition-failed")
        assert "Nothing was written" in problem["detail"]
    for unwanted in (etag, f"W/{etag}", f"{old}, {etag}", "*"):
        refused(await sent(client, method, author, if_none_match=unwanted), 412, "precondition-failed")
    refused(await sent(client, method, author, if_match=etag, if_none_match=etag), 412, "precondition-failed")
    for malformed in ("x", "", f"{etag} {etag}"):
        refused(await sent(client, method, author, if_match=malformed), 422, "invalid-question")
    assert (await client.get(author)).json()["name"] == "Changed meanwhile"
    assert (await sent(client, method, author, if_match=f'{old}, W/"x", {narrow}', if_none_match=old)).status_code == 204


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("if_match", ["*", '"x"', "real"])
async def test_a_row_that_is_not_there_is_missing_whatever_is_asked(
    client: AsyncClient, author: str, method: str, if_match: str
) -> None:
    etag = await etag_of(client, author)
    assert (await sent(client, "DELETE", author, if_match=etag)).status_code == 204
    refused(await sent(client, method, author, if_match=if_match if if_match != "real" else etag), 404, "not-found")


async def test_what_is_wrong_with_a_request_is_said_before_a_row_is_looked_at(
    client: AsyncClient, author: str, queries: Queries
) -> None:
    queries.clear()
    for path in (author, f"{AUTHORS}/99999999"):
        refused(await sent(client, "PATCH", path, if_match="x"), 422, "invalid-question")
    refused(await client.post("/v1/loans/99999999:renew"), 428, "precondition-required")
    refused(await client.post("/v1/loans/99999999:renew", headers={"if-match": "x"}), 422, "invalid-question")
    assert len(queries) == 0
    refused(await client.post("/v1/loans/99999999:renew", headers={"if-match": "*"}), 404, "not-found")


async def test_whatever_state_it_is_in(client: AsyncClient, author: str) -> None:
    for method in ("PATCH", "DELETE"):
        assert (await sent(client, method, author, if_match="*")).status_code == 204


async def test_a_condition_costs_no_statement(client: AsyncClient, queries: Queries) -> None:
    author = f"{AUTHORS}/{(await AuthorFactory.create()).id}"
    for method in ("PATCH", "DELETE"):
        etag = await etag_of(client, author)
        queries.clear()
        assert (await sent(client, method, author, if_match=etag)).status_code == 204
        assert len(queries) == 1


async def test_a_change_from_outside_changes_the_etag(committing_client: AsyncClient, engine: AsyncEngine) -> None:
    made = await committing_client.post(AUTHORS, json={"name": "Ada"})
    path, key = made.headers["location"], made.json()["id"]
    async with engine.begin() as outside:
        await outside.execute(text("UPDATE authors SET name = 'Bo' WHERE id = :id"), {"id": key})
    now = await committing_client.get(path, headers={"if-none-match": made.headers["etag"]})
    assert (now.status_code, now.json()["name"]) == (200, "Bo")
    refused(await sent(committing_client, "PATCH", path, if_match=made.headers["etag"]), 412, "precondition-failed")


async def test_a_row_made_anew_under_its_key_is_another(committing_client: AsyncClient, engine: AsyncEngine) -> None:
    """Its version begins at one again."""
    made = await committing_client.post(AUTHORS, json={"name": "Ada"})
    path, key = made.headers["location"], made.json()["id"]
    async with engine.begin() as outside:
        await outside.execute(text("DELETE FROM authors WHERE id = :id"), {"id": key})
        again = "INSERT INTO authors (id, name) OVERRIDING SYSTEM VALUE VALUES (:id, 'Bo') RETURNING version"
        assert await outside.scalar(text(again), {"id": key}) == 1
    assert (await committing_client.get(path, headers={"if-none-match": made.headers["etag"]})).status_code == 200
    refused(await sent(committing_client, "PATCH", path, if_match=made.headers["etag"]), 412, "precondition-failed")


@pytest.mark.parametrize("hooked", [False, True])
async def test_of_many_who_mean_the_same_state_one_writes(
    committing_client: AsyncClient, committed: Database, hooked: bool
) -> None:
    if hooked:
        committed.after_commit.append(nothing)
    made = await committing_client.post(AUTHORS, json={"name": "Ada"})
    path, meant = made.headers["location"], {"if-match": made.headers["etag"]}
    answers = await asyncio.gather(
        *(committing_client.patch(path, json={"name": f"Author {number}"}, headers=meant) for number in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [204, *[412] * 19]
    (won,) = [number for number, answer in enumerate(answers) if answer.status_code == 204]
    now = await committing_client.get(path)
    assert (now.json()["name"], now.headers["etag"]) == (f"Author {won}", answers[won].headers["etag"])


class Demanding(Authors):
    """Authors that are changed by who knows them."""


class Loud(AuthorRead):
    """A shape that is worked out in Python."""

    @field_serializer("name")
    def _said(self, name: str) -> str:
        return SAID["before"] + name


SAID = {"before": "Dear "}


def serving(settings: Settings, database: Database, **options: Any) -> FastAPI:
    """A small application that serves authors in another way."""
    app = FastAPI()
    app.state.service = Service(settings, database, Signer(settings.signing(), settings.cursor_seconds))
    problems.install(app)
    router = serve(Demanding, at="/authors", write=AuthorWrite, **options)
    router.settle()
    app.include_router(router, prefix="/v1")
    return knowing(app, settings, database)


async def test_a_table_may_demand_it(settings: Settings, database: Bound) -> None:
    path = f"{AUTHORS}/{(await AuthorFactory.create()).id}"
    async with client_of(serving(settings, database, read=AuthorRead, demands="If-Match")) as client:
        for method in ("PATCH", "DELETE"):
            etag = await etag_of(client, path)
            problem = refused(await sent(client, method, path), 428, "precondition-required")
            assert "Rows of authors" in problem["detail"]
            refused(await sent(client, method, path, if_none_match='"x"'), 428, "precondition-required")
            refused(await sent(client, method, path, if_match='"x"'), 412, "precondition-failed")
            assert (await sent(client, method, path, if_match=etag)).status_code == 204


async def test_what_python_works_out_is_part_of_the_etag(
    settings: Settings, database: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row's version doesn't decide what is shown of it; what is meant for the row heeds its version alone."""
    async with client_of(serving(settings, database, read=Loud)) as client:
        made = await client.post(AUTHORS, json={"name": "Ada"})
        path, etag = made.headers["location"], made.headers["etag"]
        assert await etag_of(client, path) == etag
        changed = await client.patch(path, json={"name": "Bo"}, headers={"if-match": etag})
        assert (changed.status_code, changed.headers["etag"]) == (204, await etag_of(client, path))
        monkeypatch.setitem(SAID, "before", "Cher ")
        assert await etag_of(client, path) != changed.headers["etag"]
        assert (await client.get(path, headers={"if-none-match": changed.headers["etag"]})).status_code == 200
        assert (await sent(client, "PATCH", path, if_match=changed.headers["etag"])).status_code == 204


async def test_another_shape_is_another_view(settings: Settings, database: Bound) -> None:
    class Described(AuthorRead):
        """A shape that says more of its members than the other."""

        name: str = Field(description="As on the title page.")

    path = f"{AUTHORS}/{(await AuthorFactory.create()).id}"
    etags = []
    for shape in (AuthorRead, Described):
        async with client_of(serving(settings, database, read=shape)) as client:
            etags.append(await etag_of(client, path))
    assert etags[0] != etags[1]
    assert etags[0][:33] == etags[1][:33]
