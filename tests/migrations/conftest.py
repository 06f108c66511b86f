"""Fixtures of the tests of migrations."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from service import settings
from service.migrations.running import new_engine, on_own_loop
from tests.migrations.books import INDEXES, TABLE, Found, Upgrade
from tests.migrations.projects import Project, fetch
from tests.migrations.standalone import Bystander, Standalone, bystander

Sql = Callable[..., list[Any]]
Inside = Callable[[Callable[[Connection], Any]], Any]


@pytest.fixture
def sql(empty_database: str) -> Sql:
    """Run statements (divided by `;;`) on the test's database as one client would, and give the last one's rows."""
    return lambda statement, *arguments: asyncio.run(fetch(empty_database, statement, *arguments))


@pytest.fixture
def project(tmp_path: Path, empty_database: str) -> Project:
    """A project without tables or revisions, on an empty database."""
    return Project(tmp_path / "project", empty_database)


@pytest.fixture
def standalone(tmp_path: Path, empty_database: str) -> Standalone:
    """A project without revisions that other processes can run, on an empty database."""
    return Standalone(tmp_path / "standalone", empty_database)


@pytest.fixture
def other(empty_database: str) -> Iterator[Bystander]:
    """A session of somebody else."""
    with bystander(empty_database) as made:
        yield made


@pytest.fixture
def books(sql: Sql) -> None:
    """A table with rows."""
    sql(TABLE)


@pytest.fixture
def upgrade(books: None, standalone: Standalone) -> Upgrade:
    """Write a revision, and go there."""
    numbers = iter(range(1, 100))

    def up(*forward: str, back: str = "pass") -> None:
        standalone.revise(f"r{next(numbers)}", *forward, back=back)
        standalone.upgrade(settings.load())

    return up


@pytest.fixture
def standing(books: None, sql: Sql) -> Found:
    """The indexes of the table as they are."""
    return lambda: {row["name"]: row["words"] if row["valid"] else "INVALID" for row in sql(INDEXES)}


@pytest.fixture
def inside(empty_database: str) -> Inside:
    """Call something with a connection whose transaction is rolled back."""

    async def run(work: Callable[[Connection], Any]) -> Any:
        engine = new_engine(empty_database)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return lambda work: on_own_loop(lambda: run(work))
