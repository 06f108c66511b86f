"""Migrations from Python, on the project's own tables and revisions."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import migrations
from service.errors import SetupError
from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table

TABLES = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'i', 'S') AND relnamespace = 'public'::regnamespace ORDER BY 1"


def test_up_down_and_up_again_leave_no_drift(empty_database: str, sql: Sql) -> None:
    migrations.upgrade(empty_database)
    first = sql(TABLES)
    assert migrations.drift(empty_database) == []
    migrations.downgrade(empty_database, "base")
    kept = ["alembic_version", "alembic_version_pkc", "shelfmark_indexes", "shelfmark_indexes_pkey"]
    assert [row["relname"] for row in sql(TABLES)] == kept
    assert sql("SELECT 1 FROM pg_proc WHERE proname = 'shelfmark_row_version'") == []
    migrations.upgrade(empty_database)
    assert sql(TABLES) == first
    assert migrations.drift(empty_database) == []


def test_the_revision_is_known(empty_database: str) -> None:
    assert migrations.current(empty_database) is None
    migrations.upgrade(empty_database)
    assert migrations.current(empty_database) == migrations.head()


def test_it_works_from_any_directory(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    migrations.upgrade(empty_database)
    assert migrations.drift(empty_database) == []


async def test_it_works_where_a_loop_runs_already(empty_database: str) -> None:
    migrations.upgrade(empty_database)
    assert await asyncio.to_thread(migrations.drift, empty_database) == []


def test_an_older_database_is_said_to_be_old(empty_database: str) -> None:
    (found,) = migrations.drift(empty_database)
    assert "revision none" in found.sentence
    assert found.sentence.endswith("run `shelfmark migrate`.")


def test_a_revision_that_does_not_exist(empty_database: str) -> None:
    with pytest.raises(SetupError, match="Can't locate revision identified by 'nonsense'"):
        migrations.upgrade(empty_database, "nonsense")


def test_a_project_without_revisions_says_how_to_write_one(project: Project) -> None:
    with pytest.raises(SetupError, match="alembic revision --autogenerate"):
        migrations.head(ini=project.ini)


def test_each_migration_has_its_own_transaction(project: Project, sql: Sql) -> None:
    tables = metadata()
    table(tables, "shelves")
    project.build(tables)
    table(tables, "rooms")
    second = project.revise(tables)
    second.write_text(second.read_text().replace("def downgrade", '    op.execute("SELECT 1/0")\n\n\ndef downgrade', 1))
    with pytest.raises(Exception, match="division by zero"):
        project.upgrade(tables)
    assert [row["to_regclass"] for row in sql("SELECT to_regclass('shelves') UNION ALL SELECT to_regclass('rooms')")] == [
        "shelves",
        None,
    ]
    assert len(sql("SELECT version_num FROM alembic_version")) == 1


def test_two_threads_do_not_meet(empty_database: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(migrations.upgrade, empty_database), pool.submit(migrations.upgrade, empty_database)]
        assert [each.result() for each in done] == [None, None]
    assert migrations.drift(empty_database) == []
