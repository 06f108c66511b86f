"""New revisions are files that need no more work."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Column, Index, Text

from service.db import folded
from service.migrations.formatting import tidy
from tests.migrations.projects import CHECKOUT, Project, metadata, table


@pytest.fixture
def project(tmp_path: Path, empty_database: str) -> Project:
    """A project whose revisions are formatted, as those of the service are."""
    return Project(tmp_path / "project", empty_database, tidy=True)


def test_a_generated_revision_passes_the_linters(project: Project) -> None:
    tables = metadata()
    shelves = table(tables, "shelves", Column("name", Text(collation="C")))
    Index("ix_shelves_name", folded(shelves.c.name), shelves.c.id)
    written = project.revise(tables, "add shelves, where books stand")
    passes(written)
    succeeds("mypy", "--follow-imports=silent", str(written))


def test_an_empty_revision_passes_the_linters(project: Project) -> None:
    passes(project.revise(metadata(), "nothing yet."))


def test_a_file_is_named_by_its_day(project: Project) -> None:
    written = project.revise(metadata(), "Add shelves & rooms")
    day, slug = written.name.split("_", 1)
    assert [len(part) for part in day.split("-")] == [4, 2, 2]
    assert slug.startswith("add_shelves_rooms_")
    assert f"Written: {day} " in written.read_text()


def test_tidying_formats_a_file(tmp_path: Path) -> None:
    untidy = tmp_path / "untidy.py"
    untidy.write_text("x = 'a'")
    tidy(str(untidy))
    assert untidy.read_text() == 'x = "a"\n'


def passes(revision: Path) -> None:
    """Ruff's checks and format, under the rules of alembic/versions/."""
    name = str(CHECKOUT / "alembic" / "versions" / revision.name)
    for words in (["check", "--stdin-filename", name], ["format", "--check", "--stdin-filename", name]):
        succeeds("ruff", *words, "-", input=revision.read_text())


def succeeds(tool: str, *words: str, input: str = "") -> None:  # noqa: A002  (subprocess calls it so)
    """Run a tool from the checkout, where its settings are."""
    command = [sys.executable, "-m", tool, *words]
    done = subprocess.run(command, input=input, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
