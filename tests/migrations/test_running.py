"""The command line of Alembic, and what it says when it can't do its work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url, text

import service
from service import migrations
from service.errors import SetupError
from service.migrations.running import new_engine
from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table

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
    sql(f"{written.stdout};; SELECT 1")
    assert migrations.drift(empty_database) == []
    back = alembic("downgrade", f"{migrations.head()}:base", "--sql", at=tmp_path)
    sql(f"{back.stdout};; SELECT 1")
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


def test_a_role_without_rights(empty_database: str, sql: Sql) -> None:
    sql("REVOKE CREATE ON SCHEMA public FROM public;; CREATE ROLE shelfmark_guest LOGIN PASSWORD 'guest'")
    try:
        guest = make_url(empty_database).set(username="shelfmark_guest", password="guest")
        with pytest.raises(SetupError, match=r"permission denied for schema public\. Migrations need a role"):
            migrations.upgrade(guest.render_as_string(hide_password=False))
        sql("GRANT CREATE ON SCHEMA public TO shelfmark_guest")
        with pytest.raises(SetupError, match="permission denied to create extension"):
            migrations.upgrade(guest.render_as_string(hide_password=False))
        assert sql("SELECT to_regclass('books') AS it")[0]["it"] is None
    finally:
        sql("DROP OWNED BY shelfmark_guest CASCADE;; DROP ROLE shelfmark_guest")


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
