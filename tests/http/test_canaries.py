"""Secrets and values, sent through every way in: none comes out in the log, in a failure's answer or in the service's own tables.

A process of its own serves, as deployments run it, and tells as much as it can: every request, at the level of debugging.
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from service.db import Database, keys
from service.settings import Settings
from service.telemetry import SAME_LINES_MOST
from tests.fixtures.databases import new_database, template
from tests.fixtures.keys import ADMIN, SECRET, bearer, forged, granted, let_in
from tests.fixtures.processes import SHELFMARK, Running, answers, running, until, unused_port
from tests.fixtures.servers import Servers

CANARY = "kanarienvogel"
LOUD = {
    "SHELFMARK_LOG_LEVEL": "debug",
    "SHELFMARK_LOG_FORMAT": "json",
    "SHELFMARK_ACCESS_LOG_EVERY": "1",
    "SHELFMARK_LOCK_TIMEOUT_MS": "100",
    "SHELFMARK_KEY_REQUESTS_BURST": "100",
    "SHELFMARK_SECRETS": SECRET,
}
OURS = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'shelfmark%'"
BREAK = """
CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'out of order' USING ERRCODE = 'XX000'; END $$
"""
ON_WRITE = "CREATE TRIGGER broken BEFORE INSERT OR UPDATE ON books FOR EACH ROW EXECUTE FUNCTION broken()"


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    """A migrated database of its own."""
    async with new_database(servers, await template(servers)) as made:
        await let_in(made)
        yield made


@pytest.fixture
async def committed(url: str, settings: Settings) -> AsyncIterator[Database]:
    """The same database, for the test itself."""
    made = Database.connect(url, settings)
    yield made
    await made.close()


@contextmanager
def served(url: str) -> Iterator[tuple[Running, str]]:
    """A service that logs all it can, and its address."""
    folder, port = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp")), unused_port()
    base = f"http://127.0.0.1:{port}"
    try:
        with running(folder, SHELFMARK, "serve", DATABASE_URL=url, SHELFMARK_PORT=str(port), **LOUD) as run:
            until(lambda: answers(f"{base}/readyz"), run.said)
            yield run, base
    finally:
        shutil.rmtree(folder)


def everywhere() -> list[tuple[str, str, dict[str, Any]]]:
    """Requests that carry the canary in each of their parts."""
    at = "/v1/books"
    return [
        ("GET", f"/{CANARY}", {}),
        ("GET", f"{at}/{CANARY}", {}),
        ("GET", at, {"params": {CANARY: "1"}}),
        ("GET", at, {"params": {"title__folded": CANARY}}),
        ("GET", at, {"params": {"language": CANARY, "isbn13": CANARY}}),
        ("GET", at, {"params": {"language": CANARY}}),
        ("GET", at, {"params": {"title__icontains": CANARY}}),
        ("GET", at, {"params": {"attributes__has": json.dumps({CANARY: CANARY})}}),
        ("GET", at, {"params": {"sort": CANARY, "fields": CANARY, "include": CANARY, "limit": CANARY, "count": CANARY}}),
        ("GET", at, {"params": {"cursor": CANARY}}),
        ("GET", at, {"headers": {"Cookie": CANARY, "User-Agent": CANARY, "X-Request-Id": CANARY, "Referer": CANARY}}),
        ("GET", at, {"headers": {"Authorization": f"Bearer {CANARY}"}}),
        ("GET", at, {"headers": {"Authorization": f"Basic {CANARY}"}}),
        ("GET", at, {"headers": {"Host": CANARY}}),
        ("POST", at, {"json": {"title": CANARY, "author_id": 10**9}}),
        ("POST", at, {"json": {"title": CANARY, "author_id": 1, "isbn13": CANARY}}),
        ("POST", at, {"json": {CANARY: CANARY}}),
        ("POST", at, {"content": CANARY}),
        ("POST", at, {"content": CANARY, "headers": {"Content-Type": f"text/{CANARY}", "Content-Encoding": CANARY}}),
        ("POST", "/v1/authors", {"json": {"name": CANARY * 2000}}),
        ("POST", "/v1/authors:batch", {"json": {"data": [{"name": "a"}, {"name": f"{CANARY}\0"}]}}),
        ("POST", "/v1/members", {"json": {"email": CANARY, "name": ""}, "headers": {"Idempotency-Key": CANARY}}),
        ("DELETE", f"{at}/{CANARY}", {}),
        (CANARY.upper(), at, {}),
    ]


def with_key(token: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Requests that carry a key where it belongs, and where it doesn't."""
    own, admins = bearer(token), bearer(ADMIN)
    return [
        ("GET", "/v1/books", {"params": {"title": token}, "headers": own}),
        ("POST", "/v1/authors", {"json": {"name": "Ann"}, "headers": own | {"Idempotency-Key": token}}),
        ("GET", "/v1/books", {"params": {"ratings_count": "1", "cursor": token}, "headers": admins}),
        ("GET", f"/v1/books/{token}?{token}={token}", {"headers": admins | {"X-Api-Key": token}}),
    ]


def batched(asked: list[Any]) -> Iterator[list[Any]]:
    """Requests, as many together as the log has lines for in a second."""
    for at in range(0, len(asked), SAME_LINES_MOST - 2):
        yield asked[at : at + SAME_LINES_MOST - 2]


def lines(run: Running, event: str) -> list[dict[str, Any]]:
    """The lines of an event."""
    told = [json.loads(line) for line in run.said().splitlines() if line.startswith("{")]
    return [line for line in told if line.get("event") == event]


async def test_no_value_comes_out_whatever_becomes_of_a_request(url: str, committed: Database) -> None:
    """Neither in the log nor in what is kept; the same goes for keys, be they good, wrong, revoked or sent in a wrong place."""
    good, gone = await granted(committed, "books:read", "authors:write"), await granted(committed, "admin")
    wrong = forged(good)
    async with committed.writing() as unit:
        await keys.revoke(unit.session, gone[6:14])
    asked = [(method, path, how | {"headers": bearer(ADMIN) | how.get("headers", {})}) for method, path, how in everywhere()]
    asked += [one for token in (good, wrong, gone) for one in with_key(token)]
    with served(url) as (run, base):
        async with httpx.AsyncClient(base_url=base) as client:
            statuses = set[int]()
            for one in batched(asked):
                statuses |= {(await client.request(method, path, **how)).status_code for method, path, how in one}
                await asyncio.sleep(1)  # more lines than these in a second wouldn't be written
        assert run.end(Signals.SIGTERM) == 0
        said = run.said()
        assert len(lines(run, "request")) >= len(asked)
    assert {200, 201, 400, 401, 404, 415, 422} <= statuses
    kept = await ours(committed)
    assert "language=" in kept  # a refusal was counted
    assert good[6:14] in kept
    for where in (said, kept):
        assert CANARY not in where.lower()
        assert CANARY.encode().hex() not in where
        assert SECRET not in where
        for token in (good, wrong, gone, ADMIN):
            assert token[15:] not in where
            assert token[15:].encode().hex() not in where


async def ours(database: Database) -> str:
    """All that the service keeps for itself, as PostgreSQL writes it; but not the answers that it may have to give again."""
    async with database.reading() as session:
        tables = set((await session.scalars(text(OURS))).all())
        assert {"shelfmark_keys", "shelfmark_refusals", "shelfmark_answers"} <= tables
        columns = {"shelfmark_answers": "concat(id, asked, headers)"}
        asked = [text(f"SELECT {columns.get(table, 't::text')} FROM {table} t") for table in sorted(tables)]
        return "\n".join([str(row) for one in asked for row in await session.scalars(one)])


async def test_no_value_comes_out_when_the_database_is_at_fault(url: str, committed: Database) -> None:
    """A row that is locked, a row that is there already, and an error that nobody foresaw: logged, with a trace, without values."""
    said = {"title": CANARY, "source_key": CANARY}
    with served(url) as (run, base):
        async with httpx.AsyncClient(base_url=base, headers=bearer(ADMIN)) as client:
            author = (await client.post("/v1/authors", json={"name": f"{CANARY} the first"})).json()["id"]
            book = (await client.post("/v1/books", json={"title": "x", "author_id": author})).json()["id"]
            async with committed.writing() as unit:
                await unit.session.execute(text("SELECT FROM books WHERE id = :id FOR UPDATE"), {"id": book})
                late = await client.patch(f"/v1/books/{book}", json=said)
            twice = await client.post("/v1/authors", json={"name": f"{CANARY} THE FIRST"})
            async with committed.writing() as unit:
                await unit.session.execute(text(BREAK))
                await unit.session.execute(text(ON_WRITE))
            change = await client.patch(f"/v1/books/{book}", json=said)
            create = await client.post("/v1/books", json={**said, "author_id": author})
        assert [one.status_code for one in (late, twice, change, create)] == [503, 409, 500, 500]
        assert not any(word in one.text.lower() for one in (late, change, create) for word in (CANARY, "out of order", "update"))
        mistakes = lines(run, "the service made a mistake")
        assert [line["instance"] for line in mistakes] == [one.json()["instance"] for one in (change, create)]
        assert "out of order" in str(mistakes)
        assert run.end(Signals.SIGTERM) == 0
        assert CANARY not in run.said().lower()
