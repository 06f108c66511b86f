"""Keys at the door: who is let in, and that all who aren't are answered alike."""

import datetime
import json
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import text
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from service.app import create_app
from service.db import Database, keys
from service.db.bound import Bound
from service.errors import SetupError
from service.http.apikeys import Knowing
from service.http.callers import NOBODY, Caller, caller_of
from service.http.keyring import Keyring
from service.http.layers import Answering
from service.settings import Settings, load
from tests.factories.books import BookFactory
from tests.factories.members import MemberFactory
from tests.fixtures.application import client_of
from tests.fixtures.keys import ADMIN, SECRET, SIGNATURES, bearer, forged, granted
from tests.fixtures.statements import Queries
from tests.http.conftest import refused

BOOKS = "/v1/books"
SECOND = datetime.timedelta(seconds=1)


@pytest.fixture
async def nobody(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client without a key."""
    async with client_of(app, key=None) as made:
        yield made


def unauthorized(answer: Response) -> dict[str, Any]:
    """A 401 as all of them are, without the request's id."""
    problem = refused(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    del problem["instance"]
    return problem


async def test_without_a_key(nobody: AsyncClient, queries: Queries) -> None:
    assert "Authorization: Bearer shelf_" in unauthorized(await nobody.get(BOOKS))["detail"]
    assert len(queries) == 0


async def test_a_key_of_the_right_scope(nobody: AsyncClient, database: Bound) -> None:
    key = bearer(await granted(database, "books:read"))
    assert (await nobody.get(BOOKS, headers=key)).status_code == 200
    problem = refused(await nobody.post(BOOKS, headers=key, content=b"[[["), 403, "forbidden")
    assert problem["scope"] == "books:write"
    assert refused(await nobody.get("/v1/loans?member_id=1", headers=key), 403, "forbidden")["scope"] == "loans:read"


async def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(nobody: AsyncClient, database: Bound) -> None:
    """Unknown, expired, revoked, replaced, forged, mistyped: nobody learns which."""
    good, expired, revoked, replaced = [await granted(database, "books:read") for _ in range(4)]
    async with database.writing() as unit:
        ended = text("UPDATE shelfmark_keys SET expires_at = clock_timestamp() WHERE prefix = :prefix")
        await unit.session.execute(ended, {"prefix": expired[6:14]})
        await keys.revoke(unit.session, revoked[6:14])
        await keys.replace(unit.session, replaced[6:14], keys.Signed("newerone", b"", ""), 0 * SECOND)
    wrong = [expired, revoked, replaced, forged(good), forged("shelf_unknown1_" + "0" * 49), good[:-1], good.upper(), "x"]
    told = [unauthorized(await nobody.get(BOOKS, headers=bearer(token))) for token in wrong]
    assert all(problem == told[0] for problem in told)
    assert (await nobody.get(BOOKS, headers=bearer(good))).status_code == 200


async def test_every_changed_byte_is_seen(nobody: AsyncClient, database: Bound, queries: Queries) -> None:
    good = f"Bearer {await granted(database, 'books:read')}".encode()
    queries.clear()
    for at in range(len(good)):
        for changed in (good[at] ^ 1, good[at] ^ 0x20, 0xFF):
            sent = good[:at] + bytes([changed]) + good[at + 1 :]
            if sent.lower().removeprefix(b"bearer ") == good.lower().removeprefix(b"bearer ") and sent[7:] == good[7:]:
                continue  # the scheme may be written in any case
            answer = await nobody.get(BOOKS, headers=[(b"Authorization", sent)])
            assert answer.status_code == 401, sent
    assert len(queries) == 0


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b"Bearer"],
        [b"Bearer "],
        [b"Bearer  "],
        [b"bearer shelf_"],
        [b"Basic dXNlcjpwYXNz"],
        ["Bearer schlüssel".encode()],
        [b"Bearer \xff\xfe\x00"],
        [b"Bearer " + b"x" * 60_000],
        [b"Bearer shelf_" + b"a" * 60_000],
        [f"Bearer {ADMIN}".encode(), f"Bearer {ADMIN}".encode()],
        [f"Bearer {ADMIN}".encode(), b"Basic dXNlcjpwYXNz"],
        [f"Bearer {ADMIN}, Bearer {ADMIN}".encode()],
    ],
    ids=lambda values: repr(values)[:40],
)
async def test_garbage_is_refused_like_a_wrong_key(nobody: AsyncClient, values: list[bytes]) -> None:
    assert (await nobody.get(BOOKS, headers=bearer(ADMIN))).status_code == 200  # it is known, and would be let in at a glance
    problem = unauthorized(await nobody.get(BOOKS, headers=[(b"Authorization", value) for value in values]))
    assert problem == unauthorized(await nobody.get(BOOKS, headers=bearer(forged(ADMIN))))


async def test_other_headers_may_be_there_twice(client: AsyncClient) -> None:
    answer = await client.get(
        BOOKS, headers=[(b"Accept", b"a/b"), (b"accept", b"*/*"), (b"authorization", f"Bearer {ADMIN}".encode())]
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_looks_at_no_key(nobody: AsyncClient, path: str) -> None:
    """Whoever asks must not wait for the database, nor be refused by it."""
    answers = [await nobody.get(path), await nobody.get(path, headers=bearer(forged(ADMIN)))]
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_wrong_key_is_refused_wherever_it_is_sent(nobody: AsyncClient) -> None:
    """Also where none is needed: it is a mistake that somebody wants to hear of."""
    for path in ("/docs", "/problems/conflict", "/nowhere", f"{BOOKS}:contract"):
        unauthorized(await nobody.get(path, headers=bearer(forged(ADMIN))))


async def test_docs_are_open_to_everybody(nobody: AsyncClient) -> None:
    paths = ["/docs", "/openapi.json", f"{BOOKS}:contract", "/problems/conflict", "/docs/assets/swagger-ui.css"]
    assert [(await nobody.get(path)).status_code for path in paths] == [200] * 5


async def test_docs_can_be_closed(settings: Settings, database: Bound) -> None:
    """Then any key opens them, also one that is confined to rows."""
    key = bearer(await granted(database, "loans:read", within={"member_id": "7"}))
    app = create_app(settings.model_copy(update={"public_docs": False}), database)
    async with client_of(app, key=None) as client:
        for path in ("/docs", "/openapi.json", f"{BOOKS}:contract"):
            unauthorized(await client.get(path))
            assert (await client.get(path, headers=key)).status_code == 200
        assert (await client.get("/problems/conflict")).status_code == 200


async def test_chosen_tables_can_be_read_by_everybody(settings: Settings, database: Bound) -> None:
    """Read only, and those only; a key of another scope, or one that is confined, may read them too."""
    app = create_app(settings.model_copy(update={"public_read": ("books", "authors")}), database)
    book, confined = await BookFactory.create(), await granted(database, "loans:read", within={"member_id": "7"})
    async with client_of(app, key=None) as client:
        for headers in ({}, bearer(await granted(database, "loans:read")), bearer(confined)):
            for path in (BOOKS, f"{BOOKS}/{book.id}?include=author", f"{BOOKS}/{book.id}/availability", "/v1/authors?sort=id"):
                assert (await client.get(path, headers=headers)).status_code == 200, path
            status = 403 if headers else 401
            assert (await client.patch(f"{BOOKS}/{book.id}", json={"title": "x"}, headers=headers)).status_code == status
            assert (await client.get("/v1/copies?barcode=x", headers=headers)).status_code == status
        document = (await client.get("/openapi.json")).json()["paths"]
    assert document[BOOKS]["get"]["security"] == [{}, {"key": ["books:read"]}]
    assert document[BOOKS]["post"]["security"] == [{"key": ["books:write"]}]


async def test_an_open_table_shows_no_closed_one(settings: Settings, database: Bound) -> None:
    """What include= would embed needs its own scope."""
    app = create_app(settings.model_copy(update={"public_read": ("books",)}), database)
    book = await BookFactory.create()
    async with client_of(app, key=None) as client:
        for path in (f"{BOOKS}?include=author", f"{BOOKS}/{book.id}?include=author"):
            unauthorized(await client.get(path))
            key = bearer(await granted(database, "books:read"))
            assert refused(await client.get(path, headers=key), 403, "forbidden")["scope"] == "authors:read"
            key = bearer(await granted(database, "authors:read"))
            assert (await client.get(path, headers=key)).status_code == 200


def test_an_open_table_must_exist(settings: Settings, database: Bound) -> None:
    with pytest.raises(SetupError, match="SHELFMARK_PUBLIC_READ names boks, and no such table is served"):
        create_app(settings.model_copy(update={"public_read": ("books", "boks")}), database)


def test_the_setting_is_a_list(settings: Settings) -> None:
    assert load(_env_file=None, public_read=" books ,authors,").public_read == ("books", "authors")


async def test_a_key_is_good_for_its_second_and_no_longer(app: FastAPI, nobody: AsyncClient, database: Bound) -> None:
    """Also where nobody confirms keys ahead of time: the layer itself looks at the clock."""
    token = await granted(database, "books:read")
    assert (await nobody.get(BOOKS, headers=bearer(token))).status_code == 200
    async with database.writing() as unit:
        assert await keys.revoke(unit.session, token[6:14])
    app.state.keyring.known[f"Bearer {token}".encode()].until = monotonic() - 0.001
    unauthorized(await nobody.get(BOOKS, headers=bearer(token)))


async def test_two_keys_do_not_mix(nobody: AsyncClient, database: Bound) -> None:
    reads, writes = bearer(await granted(database, "members:read")), bearer(await granted(database, "members:write"))
    member = await MemberFactory.create()
    for _ in range(3):
        assert (await nobody.get(f"/v1/members/{member.id}", headers=reads)).status_code == 200
        assert (await nobody.get(f"/v1/members/{member.id}", headers=writes)).status_code == 403
        assert (await nobody.get(f"/v1/members/{member.id}")).status_code == 401


async def test_a_key_stands_in_no_log_and_in_no_row(settings: Settings, committed: Database) -> None:
    """Neither a good nor a wrong one, whatever happens to the request."""
    good = await granted(committed, "books:read")
    wrong, slip = forged(good), good[:-1]
    loud = settings.model_copy(update={"access_log_every": 1})
    with capture_logs() as logs:
        app = create_app(loud, committed)
        async with app.router.lifespan_context(app), client_of(app, key=None) as client:
            for token in (good, wrong, slip):
                for path in (BOOKS, f"{BOOKS}?cursor={token}", "/v1/loans?member_id=1", "/nowhere"):
                    await client.get(path, headers=bearer(token))
    assert logs
    told = json.dumps(logs, default=repr)
    async with committed.reading() as session:
        told += repr((await session.execute(text("SELECT to_jsonb(k)::text FROM shelfmark_keys k"))).all())
    assert good[6:14] in told
    for token in (good, wrong, slip):
        assert token[15:] not in told
    assert SECRET not in told


async def test_the_caller_is_told_to_what_is_inside(database: Bound) -> None:
    seen: list[Caller] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(caller_of(scope))
        await PlainTextResponse("seen")(scope, receive, send)

    token = await granted(database, "books:read", within={"member_id": "7"})
    app = Answering(Knowing(inside, Keyring(database, SIGNATURES), NOBODY))
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://test") as client:
        for headers in ({}, bearer(token), bearer(token)):
            assert (await client.get("/", headers=headers)).status_code == 200
    assert seen == [NOBODY, *[Caller(token[6:14], frozenset({"books:read"}), {"member_id": "7"})] * 2]
    assert caller_of({"type": "http"}) is NOBODY
