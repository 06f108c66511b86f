"""Cursors: good for one question and for a while, whichever index serves it."""

from dataclasses import replace
from time import time

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text

from service.app import create_app
from service.contract.cursor import Signer
from service.db.bound import Bound
from service.settings import Settings
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of
from tests.fixtures.statements import Queries
from tests.http.conftest import refused


@pytest.fixture
async def cursor(client: AsyncClient, database: Bound) -> str:
    """The cursor after the first of three books."""
    await BookFactory.create_batch(3)
    return str((await client.get("/v1/books", params={"limit": 1})).json()["next"])


DAMAGED = [
    pytest.param(lambda cursor: cursor[:-1], id="cut"),
    pytest.param(lambda cursor: cursor + "A", id="longer"),
    pytest.param(lambda cursor: ("B" if cursor[0] == "A" else "A") + cursor[1:], id="changed"),
    pytest.param(lambda cursor: cursor + "=", id="spelled otherwise"),
    pytest.param(lambda _: "", id="empty"),
    pytest.param(lambda _: "é", id="no base64"),
    pytest.param(lambda _: "\0", id="a control character"),
]


@pytest.mark.parametrize("damage", DAMAGED)
async def test_a_damaged_cursor_is_refused(client: AsyncClient, queries: Queries, cursor: str, damage: object) -> None:
    assert callable(damage)
    queries.clear()
    problem = refused(await client.get("/v1/books", params={"cursor": damage(cursor)}), 422, "invalid-cursor")
    assert "Begin again without cursor=" in problem["detail"]
    assert not queries.sent


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v1/books", {"author_id": "1"}),
        ("/v1/books", {"published_year__gte": "1990"}),
        ("/v1/books", {"sort": "published_year"}),
        ("/v1/authors", {}),
    ],
)
async def test_another_questions_cursor_is_refused(client: AsyncClient, cursor: str, path: str, parameters: dict[str, str]) -> None:
    problem = refused(await client.get(path, params={**parameters, "cursor": cursor}), 422, "invalid-cursor")
    assert "other filters" in problem["detail"]


async def test_another_value_is_another_question(client: AsyncClient, database: Bound) -> None:
    first, second = await BookFactory.create(), await BookFactory.create()
    await BookFactory.create(author=first.author)
    given = (await client.get("/v1/books", params={"author_id": first.author_id, "limit": 1})).json()["next"]
    answer = await client.get("/v1/books", params={"author_id": second.author_id, "cursor": given})
    refused(answer, 422, "invalid-cursor")


async def test_the_same_order_spelled_out_is_the_same_question(client: AsyncClient, cursor: str) -> None:
    answer = await client.get("/v1/books", params={"sort": "-published_year,-id", "cursor": cursor})
    assert len(answer.json()["data"]) == 2


async def test_a_cursor_may_change_limit_fields_and_include(client: AsyncClient, cursor: str) -> None:
    parameters = {"limit": "1", "fields": "id", "include": "author", "cursor": cursor}
    assert len((await client.get("/v1/books", params=parameters)).json()["data"]) == 1


async def test_a_lookup_has_no_second_page(client: AsyncClient, cursor: str) -> None:
    problem = refused(await client.get("/v1/books", params={"isbn13": "1", "cursor": cursor}), 422, "invalid-cursor")
    assert "one page" in problem["detail"]


async def test_an_expired_cursor_is_refused(app: FastAPI, client: AsyncClient, settings: Settings, cursor: str) -> None:
    app.state.service = replace(app.state.service, signer=Signer(settings.signing(), seconds=-1))
    expired = (await client.get("/v1/books", params={"limit": 1})).json()["next"]
    problem = refused(await client.get("/v1/books", params={"cursor": expired}), 422, "invalid-cursor")
    assert "expired" in problem["detail"]


async def test_a_cursor_outlives_the_rotation_of_secrets(
    app: FastAPI, client: AsyncClient, settings: Settings, cursor: str
) -> None:
    app.state.service = replace(app.state.service, signer=Signer((b"new" * 16, *settings.signing()), 60))
    assert (await client.get("/v1/books", params={"cursor": cursor})).status_code == 200


async def test_a_cursor_of_a_retired_secret_is_refused(app: FastAPI, client: AsyncClient, cursor: str) -> None:
    app.state.service = replace(app.state.service, signer=Signer((b"new" * 16,), 60))
    refused(await client.get("/v1/books", params={"cursor": cursor}), 422, "invalid-cursor")


async def test_a_cursor_outlives_the_swap_of_an_index(database: Bound, client: AsyncClient, cursor: str) -> None:
    async with database.writing() as unit:
        await unit.session.execute(text("DROP INDEX ix_books_newest"))
        await unit.session.execute(text("CREATE INDEX ix_books_newer ON books (published_year DESC NULLS LAST, id DESC)"))
    assert len((await client.get("/v1/books", params={"cursor": cursor})).json()["data"]) == 2


async def test_a_cursor_of_another_process_with_the_same_secret_is_good(settings: Settings, database: Bound, cursor: str) -> None:
    async with client_of(create_app(settings, database)) as other:
        assert len((await other.get("/v1/books", params={"cursor": cursor})).json()["data"]) == 2


async def test_a_cursor_whose_key_has_another_type_now_is_refused(app: FastAPI, client: AsyncClient) -> None:
    from service.contract.question import Question, Sort
    from service.db import surface
    from service.http.asking import fingerprint
    from service.tables.books import Book, BookRead

    of = surface(Book).of(frozenset(BookRead.model_fields))
    bound = fingerprint(of, Question(), (Sort("published_year", descending=True), Sort("id", descending=True)))
    old = app.state.service.signer.seal(bound, ["MCMXCIX", 1], time())
    problem = refused(await client.get("/v1/books", params={"cursor": old}), 422, "invalid-cursor")
    assert "before the table was changed" in problem["detail"]
