"""`shelfmark migrate`: there, and there already."""

from pathlib import Path

import pytest

from service import migrations
from service.cli import migrating
from service.errors import SetupError


@pytest.fixture
def configured(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database without tables, named by the environment of a directory without a `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", empty_database)
    return empty_database


def test_twice(configured: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The second time nothing is left to do."""
    migrating.run("head")
    assert capfd.readouterr().out == f"Migrated from nothing to {migrations.head()}.\n"
    assert migrations.current(configured) == migrations.head()
    migrating.run("head")
    assert capfd.readouterr().out == f"The database is at {migrations.head()}.\n"


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
