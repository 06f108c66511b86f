"""The two roles of docs/operations.md, made by the statements of that page: one migrates, the other serves and can do no more."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from httpx import AsyncClient
from sqlalchemy import make_url

from service import migrations, schema
from service.app import create_app
from service.db.catalogue import RECORD
from service.jobs.apart import imported
from service.jobs.importing import Options
from service.migrations.sql import statements
from tests.fixtures.application import client_of
from tests.fixtures.databases import settings_of
from tests.fixtures.keys import let_in
from tests.fixtures.servers import Servers
from tests.migrations.projects import fetch
from tests.migrations.standalone import plain
from tests.waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BLOCKS = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
CATALOGUE = "isbn13,authors,title\n9780306406157,Ada,One\n,Ada,Two\n"
FORBIDDEN = (
    "CREATE TABLE more (id bigint)",
    "CREATE INDEX more ON books (title)",
    "DROP INDEX ix_books_by_author",
    "DROP TABLE events",
    "ALTER TABLE books ADD COLUMN more integer",
    "ALTER INDEX ix_books_by_author RENAME TO more",
    "TRUNCATE events",
    "CREATE SCHEMA more",
    "CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE books DISABLE TRIGGER ALL",
    "UPDATE alembic_version SET version_num = 'more'",
    "DELETE FROM alembic_version",
    f"DELETE FROM {RECORD}",
    f"UPDATE {RECORD} SET words = 'more'",
)


@dataclass(frozen=True)
class Roles:
    """A database as the page makes it, and the URLs of its roles."""

    admin: str
    migrate: str
    serve: str


@pytest.fixture
async def roles(servers: Servers) -> AsyncIterator[Roles]:
    """The page, followed; with names of its own, as roles belong to the whole server."""
    mark = uuid4().hex[:8]
    names = {
        "shelfmark_migrate": f"migrate_{mark}",
        "shelfmark_serve": f"serve_{mark}",
        "DATABASE shelfmark": f"DATABASE roles_{mark}",
    }
    once, inside, afterwards = (_renamed(block, names) for block in BLOCKS)
    admin = servers.database(f"roles_{mark}")
    found = Roles(admin, _as(admin, f"migrate_{mark}", "change me"), _as(admin, f"serve_{mark}", "change me too"))
    try:
        await _run(servers.database("postgres"), once)
        await _run(admin, inside)
        await asyncio.to_thread(migrations.upgrade, found.migrate)
        await _run(found.migrate, afterwards)
        yield found
    finally:
        drop = f"DROP DATABASE IF EXISTS roles_{mark} WITH (FORCE); DROP ROLE IF EXISTS migrate_{mark}, serve_{mark}"
        await _run(servers.database("postgres"), drop)


def _renamed(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _as(url: str, role: str, password: str) -> str:
    return make_url(url).set(username=role, password=password).render_as_string(hide_password=False)


async def _run(url: str, sql: str) -> None:
    connection = await asyncpg.connect(plain(url))
    try:
        for statement in statements(sql):
            await connection.execute(statement)
    finally:
        await connection.close()


async def _ready(client: AsyncClient) -> bool:
    return bool((await client.get("/readyz")).json()["status"] == "ready")


async def test_the_one_migrates_and_the_other_serves_and_imports(roles: Roles, servers: Servers, tmp_path: Path) -> None:
    await let_in(roles.serve)
    settings = settings_of(roles.serve, redis_url=servers.redis)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await until(lambda: _ready(client))
        await _served(client)
        file = tmp_path / "catalogue.csv"
        file.write_text(CATALOGUE)
        summary = await imported(roles.serve, schema.imports().chosen("books"), str(file), Options())
        assert summary.inserted == 2
        assert len((await client.get("/v1/books?title__iexact=two&sort=id")).json()["data"]) == 1


async def _served(client: AsyncClient) -> None:
    """Create, read, list, search, change, create many, refuse, delete."""
    author = (await client.post("/v1/authors", json={"name": "Zoë"})).json()["id"]
    made = await client.post("/v1/books", json={"title": "A", "author_id": author})
    assert made.status_code == 201
    book = made.json()["id"]
    assert (await client.get(f"/v1/books/{book}")).status_code == 200
    assert len((await client.get(f"/v1/books?author_id={author}")).json()["data"]) == 1
    assert (await client.get("/v1/books?ratings_count=7")).status_code == 400
    assert (await client.patch(f"/v1/books/{book}", json={"title": "Another"})).status_code == 204
    assert len((await client.get("/v1/books?title__icontains=noth")).json()["data"]) == 1
    many = [{"title": title, "author_id": author} for title in ("B", "C")]
    assert (await client.post("/v1/books:batch", json={"data": many})).status_code == 201
    assert (await client.delete(f"/v1/books/{book}")).status_code == 204


async def test_who_serves_can_do_no_more(roles: Roles) -> None:
    for statement in FORBIDDEN:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(roles.serve, statement)
    assert await fetch(roles.serve, f"SELECT count(*) > 0 FROM {RECORD}") == [(True,)]
    assert await fetch(roles.serve, "SELECT version_num FROM alembic_version") == [(migrations.head(),)]


async def test_a_table_of_a_later_migration_is_served_at_once(roles: Roles) -> None:
    await _run(roles.migrate, "CREATE TABLE later (id bigint GENERATED BY DEFAULT AS IDENTITY, name text)")
    await _run(roles.serve, "INSERT INTO later (name) VALUES ('a'); UPDATE later SET name = 'b'; DELETE FROM later")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await _run(roles.serve, "DROP TABLE later")


async def test_nobody_else_gets_in_the_way(roles: Roles) -> None:
    assert await asyncio.to_thread(migrations.drift, roles.migrate) == []
    await asyncio.to_thread(migrations.downgrade, roles.migrate, "base")
    await asyncio.to_thread(migrations.upgrade, roles.migrate)
    assert await asyncio.to_thread(migrations.drift, roles.migrate) == []
