"""The command line of Alembic, and what it says when it can't do its work."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, make_url, text

import service
from service import migrations
from service.errors import SetupError
from service.migrations.running import new_engine
from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, one_by_one, table
from tests.migrations.standalone import Standalone

CHECKOUT = Path(service.__file__).parents[1]


def alembic(*words: str, at: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Alembic as a person would, with these variables only."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-m", "alembic.config", "-c", str(CHECKOUT / "alembic.ini"), *words]
    return subprocess.run(command, cwd=at, env=kept | environment, capture_output=True, text=True, check=False)


def test_without_a_url_it_names_the_variable_and_makes_nothing(tmp_path: Path) -> None:
    done = alembic("upgrade", "head", at=tmp_path)
    assert done.returncode == 2
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_command_of_a_day(tmp_path: Path, empty_database: str) -> None:
    url = empty_database.replace("+asyncpg", "")
    for words in (["upgrade", "head"], ["downgrade", "base"], ["upgrade", "head"], ["check"], ["current"]):
        done = alembic(*words, at=tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:1/wrong", DATABASE_URL_DIRECT=url)
        assert done.returncode == 0, done.stderr
    assert migrations.head() in done.stdout


def test_sql_for_a_file_needs_no_database_and_does_the_same(tmp_path: Path, empty_database: str, sql: Sql) -> None:
    written = alembic("upgrade", "head", "--sql", at=tmp_path)
    assert written.returncode == 0, written.stderr
    for part in ("CREATE OR REPLACE FUNCTION shelfmark_row_version", "CREATE OR REPLACE TRIGGER", "CREATE EXTENSION IF NOT EXISTS"):
        assert part in written.stdout
    sql(f"{one_by_one(written.stdout)};; SELECT 1")
    assert migrations.drift(empty_database) == []
    back = alembic("downgrade", f"{migrations.head()}:base", "--sql", at=tmp_path)
    sql(f"{one_by_one(back.stdout)};; SELECT 1")
    assert sql("SELECT to_regclass('books') AS it")[0]["it"] is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://somebody@127.0.0.1:1/x", "can't be reached"),
        ("postgresql://somebody@/x?host=/nowhere", "can't be reached"),
        ("postgresql://somebody:secret@127.0.0.1:port/x", "can't be read"),
        ("mysql://somebody:secret@127.0.0.1/x", "DATABASE_URL"),
    ],
)
def test_a_url_that_leads_nowhere_ends_in_a_sentence(tmp_path: Path, url: str, said: str) -> None:
    done = alembic("upgrade", "head", at=tmp_path, DATABASE_URL=url)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr


def test_a_database_that_is_not_there(empty_database: str) -> None:
    other = make_url(empty_database).set(database="shelfmark_nowhere").render_as_string(hide_password=False)
    with pytest.raises(SetupError, match=r'database "shelfmark_nowhere" does not exist\. Create it'):
        migrations.upgrade(other)


@dataclass(frozen=True)
class Guest:
    """A role that may do nothing but connect, and the URL by which it does."""

    name: str
    url: str


@pytest.fixture
def guest(empty_database: str, sql: Sql) -> Iterator[Guest]:
    """A role without any right."""
    name = f"guest_{uuid4().hex[:8]}"
    sql(f"REVOKE CREATE ON SCHEMA public FROM public;; CREATE ROLE {name} LOGIN PASSWORD 'guest'")
    url = make_url(empty_database).set(username=name, password="guest")
    yield Guest(name, url.render_as_string(hide_password=False))
    sql(f"DROP OWNED BY {name} CASCADE;; DROP ROLE {name}")


def test_a_role_without_rights(guest: Guest, sql: Sql) -> None:
    with pytest.raises(SetupError, match=rf"denied for schema public\. It needs a role .* {guest.name} may not") as no:
        migrations.upgrade(guest.url)
    assert f"GRANT USAGE, CREATE ON SCHEMA public TO {guest.name}" in str(no.value)
    sql(f"GRANT CREATE ON SCHEMA public TO {guest.name}")
    with pytest.raises(SetupError, match="permission denied to create extension") as no:
        migrations.upgrade(guest.url)
    assert 'CREATE EXTENSION "pg_trgm", once' in str(no.value)
    assert sql("SELECT to_regclass('books') AS a, to_regclass('alembic_version') AS b") == [(None, None)]


def test_an_extension_that_the_server_lacks(standalone: Standalone, sql: Sql) -> None:
    standalone.revise("first", "op.execute('CREATE TABLE books ()')\n    op.create_extension('unheard_of')")
    with pytest.raises(SetupError, match=r'extension "unheard_of" is not available\. Nothing .* Install the package of unheard_of'):
        migrations.upgrade(standalone.url, ini=standalone.ini)
    assert sql("SELECT to_regclass('books')::text") == [(None,)]


def test_a_role_that_may_create_but_does_not_own(guest: Guest, standalone: Standalone, sql: Sql) -> None:
    standalone.revise("first", "op.create_table('books', sa.Column('year', sa.Integer()))")
    migrations.upgrade(standalone.url, ini=standalone.ini)
    sql(f"GRANT ALL ON SCHEMA public TO {guest.name};; GRANT ALL ON ALL TABLES IN SCHEMA public TO {guest.name}")
    standalone.revise("second", "op.build_index('ix', 'books', 'btree (year)')")
    with pytest.raises(SetupError, match="must be owner of table books") as no:
        migrations.upgrade(guest.url, ini=standalone.ini)
    assert f"ALTER TABLE books OWNER TO {guest.name}" in str(no.value)
    assert migrations.current(standalone.url) == "first"
    assert sql("SELECT count(*) AS n FROM pg_index WHERE indrelid = 'books'::regclass") == [(0,)]


def test_a_role_that_only_serves(guest: Guest, standalone: Standalone, sql: Sql) -> None:
    standalone.revise("first", "op.execute('CREATE TABLE books ()')")
    migrations.upgrade(standalone.url, ini=standalone.ini)
    sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {guest.name}")
    standalone.revise("second", "op.execute('DROP TABLE books')")
    with pytest.raises(SetupError, match="must be owner of table books"):
        migrations.upgrade(guest.url, ini=standalone.ini)
    sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {guest.name}")
    with pytest.raises(SetupError, match=r"denied for table alembic_version\..* ALTER TABLE alembic_version OWNER TO"):
        migrations.upgrade(guest.url, ini=standalone.ini)
    assert sql("SELECT to_regclass('books')::text") == [("books",)]


def test_a_database_that_folds_ascii_only(empty_database: str, sql: Sql) -> None:
    url = make_url(empty_database)
    name = f"{url.database}_c"
    sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc")
    try:
        with pytest.raises(SetupError, match="folds ASCII letters only"):
            migrations.upgrade(url.set(database=name).render_as_string(hide_password=False))
    finally:
        sql(f"DROP DATABASE {name}")


async def test_a_connection_that_is_handed_over_is_used(project: Project, sql: Sql) -> None:
    tables = metadata()
    table(tables, "shelves")
    project.revise(tables)
    engine = new_engine(project.url)

    def upgrade(connection: Connection) -> None:
        from alembic import command

        config = project.config(tables)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with engine.connect() as connection:
        await connection.begin()
        await connection.run_sync(upgrade)
        assert await connection.scalar(text("SELECT to_regclass('shelves')::text")) == "shelves"
        await connection.rollback()
        assert await connection.scalar(text("SELECT to_regclass('shelves')::text")) is None
        await connection.rollback()
        await connection.run_sync(upgrade)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT to_regclass('shelves')::text")) == "shelves"
    await engine.dispose()


def test_an_engine_that_is_handed_over_is_used(project: Project, sql: Sql) -> None:
    from alembic import command

    tables = metadata()
    table(tables, "shelves")
    project.revise(tables)
    config = project.config(tables)
    del config.attributes["url"]
    config.attributes["connection"] = new_engine(project.url)
    command.upgrade(config, "head")
    assert sql("SELECT to_regclass('shelves')::text AS it")[0]["it"] == "shelves"
