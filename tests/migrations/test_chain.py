"""The chain of migrations: what is wrong with it, or with where a database is, is said before anything is touched."""

import pytest

from tests.migrations.conftest import Sql
from tests.migrations.standalone import Standalone

TOUCHED = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
TABLE = "op.execute('CREATE TABLE {} ()')"


def refused(standalone: Standalone, *words: str) -> str:
    """The one line that Alembic ends with."""
    ended = standalone.alembic(*words)
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    return ended.err.strip().splitlines()[-1]


def test_a_migration_whose_file_is_missing(standalone: Standalone, sql: Sql) -> None:
    for name in ("first", "second", "third"):
        standalone.revise(name, TABLE.format(name))
    (standalone.versions / "second.py").unlink()
    said = refused(standalone, "upgrade", "head")
    assert "The migration second is missing from " in said
    assert "another one follows it: second -> third" in said
    assert "Bring its file back" in said
    assert sql(TOUCHED) == []
    assert refused(standalone, "upgrade", "head", "--sql") == said


def test_a_migration_that_is_there_twice(standalone: Standalone, sql: Sql) -> None:
    standalone.revise("first", TABLE.format("first"))
    (standalone.versions / "copy.py").write_text((standalone.versions / "first.py").read_text())
    said = refused(standalone, "upgrade", "head")
    assert "Two files in " in said
    assert "the migration first. Nothing was done. Remove one" in said
    assert sql(TOUCHED) == []


def test_migrations_in_a_circle(standalone: Standalone, sql: Sql) -> None:
    standalone.revise("first", TABLE.format("first"), follows="second")
    standalone.revise("second", TABLE.format("second"))
    said = refused(standalone, "upgrade", "head")
    assert "don't make a chain" in said
    assert "first, second" in said
    assert sql(TOUCHED) == []


@pytest.mark.parametrize("words", [("upgrade", "head"), ("downgrade", "base"), ("current",), ("check",)])
def test_a_database_ahead_of_the_code(standalone: Standalone, sql: Sql, words: tuple[str, ...]) -> None:
    for name in ("first", "second"):
        standalone.revise(name, TABLE.format(name))
    assert standalone.alembic("upgrade", "head").code == 0
    before = sql(TOUCHED)
    (standalone.versions / "second.py").unlink()
    said = refused(standalone, *words)
    assert "The database is at the migration second, which isn't in " in said
    assert "Nothing was done. Run the code that has this migration" in said
    assert sql(TOUCHED) == before
    assert sql("SELECT version_num FROM alembic_version") == [("second",)]


def test_two_newest_migrations(standalone: Standalone, sql: Sql) -> None:
    standalone.revise("first", TABLE.format("first"))
    standalone.revise("left", TABLE.format("l"), follows="first")
    standalone.revise("right", TABLE.format("r"), follows="first")
    said = refused(standalone, "upgrade", "head")
    assert "several newest migrations" in said
    assert "left, right" in said or "right, left" in said
    assert "alembic merge heads" in said
    assert sql(TOUCHED) == []


def test_a_revision_that_is_nowhere(standalone: Standalone, sql: Sql) -> None:
    standalone.revise("first", TABLE.format("first"))
    said = refused(standalone, "upgrade", "nowhere")
    assert said == "Can't locate revision identified by 'nowhere'. `alembic history` lists those that there are."
    assert sql(TOUCHED) == []
