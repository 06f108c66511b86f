"""`shelfmark migrate`: shown, done, done already, and back."""

from pathlib import Path

import pytest

from service import migrations
from service.cli import migrating
from service.errors import SetupError
from tests.fixtures.processes import SHELFMARK, run


@pytest.fixture
def configured(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database without tables, named by the environment of a directory without a `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", empty_database)
    return empty_database


def test_twice(configured: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What is done is shown before, with whom it holds up; the second time nothing is left to do."""
    migrating.run("head")
    *before, last = capfd.readouterr().out.splitlines()
    assert last == f"Migrated from nothing to {migrations.head()}."
    assert before[0] == "3228358c27d2: authors and books"
    assert "  CREATE TABLE books, 8 indexes, 1 trigger\n    new table: nobody waits" in "\n".join(before)
    assert migrations.current(configured) == migrations.head()
    migrating.run("head")
    assert capfd.readouterr().out == f"The database is at {migrations.head()}.\n"


def test_a_dry_run_shows_and_does_nothing(configured: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Forward and back."""
    migrating.run("head", dry_run=True)
    shown = capfd.readouterr().out
    assert "49578256a4c1: the lending library" in shown
    assert "    blocks writes of books for a moment; a new table" in shown
    assert shown.endswith("Nothing was done. The database is at no migration.\n")
    assert migrations.current(configured) is None
    migrations.upgrade(configured)
    migrating.run("3228358c27d2", dry_run=True)
    shown = capfd.readouterr().out
    assert "Back from 49578256a4c1: the lending library\n  DROP TABLE loans, 5 indexes, 1 trigger" in shown
    assert "its rows are lost" in shown
    assert shown.endswith(f"Nothing was done. The database is at {migrations.head()}.\n")
    assert migrations.current(configured) == migrations.head()


def test_back_only_if_that_is_said(configured: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What is dropped on the way back is lost, so nobody goes there by a slip."""
    migrations.upgrade(configured)
    with pytest.raises(SetupError, match=r"3228358c27d2 lies before .* --back does it\. Nothing was done"):
        migrating.run("3228358c27d2")
    assert migrations.current(configured) == migrations.head()
    migrating.run("3228358c27d2", back=True)
    assert capfd.readouterr().out.endswith(f"Migrated from {migrations.head()} to 3228358c27d2.\n")
    migrating.run("base", back=True)
    assert capfd.readouterr().out.endswith("Migrated from 3228358c27d2 to nothing.\n")


def test_of_alembics_news_only_which_migration_runs(scratch: Path, empty_database: str) -> None:
    """As lines of the log."""
    ended = run(scratch, SHELFMARK, "migrate", DATABASE_URL=empty_database)
    assert ended.code == 0
    assert "Running upgrade  -> 3228358c27d2, authors and books" in ended.err
    assert "Context impl" not in ended.err


def test_an_unknown_revision(configured: str) -> None:
    """It is named; nothing is done."""
    with pytest.raises(SetupError, match="nowhere"):
        migrating.run("nowhere")
    assert migrations.current(configured) is None


def test_past_the_pooler(configured: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DATABASE_URL_DIRECT is the one that counts."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://pooler.invalid/name")
    monkeypatch.setenv("DATABASE_URL_DIRECT", configured)
    migrating.run("head")
    assert migrations.current(configured) == migrations.head()
