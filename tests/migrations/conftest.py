"""Fixtures of the tests of migrations."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.migrations.projects import Project, fetch

Sql = Callable[..., list[Any]]


@pytest.fixture
def sql(empty_database: str) -> Sql:
    """Run statements (divided by `;;`) on the test's database as one client would, and give the last one's rows."""
    return lambda statement, *arguments: asyncio.run(fetch(empty_database, statement, *arguments))


@pytest.fixture
def project(tmp_path: Path, empty_database: str) -> Project:
    """A project without tables or revisions, on an empty database."""
    return Project(tmp_path / "project", empty_database)
