"""Invented rows for an empty database, and only for an empty one."""

import asyncio
import io
from collections.abc import AsyncIterator

import pytest
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service import schema
from service.cli.sampling import SOURCE, fill
from tests.fixtures.databases import new_database, template
from tests.fixtures.servers import Servers

ROWS = 40


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    """A migrated database without rows."""
    async with new_database(servers, await template(servers)) as made:
        yield made


def counted(url: str, table: str) -> int:
    """The rows of a table that came from the sample."""

    async def count() -> int:
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            counting = text(f"SELECT count(*) FROM {table} WHERE source = :source")
            found: int = (await connection.execute(counting, {"source": SOURCE})).scalar_one()
        await engine.dispose()
        return found

    return asyncio.run(count())


def said(url: str, rows: int) -> str:
    """What filling prints."""
    told = io.StringIO()
    fill(url, rows, Console(file=told))
    return told.getvalue()


def test_once(url: str) -> None:
    """As many rows as were asked for, all of them sound; a second time nothing is added."""
    assert "books" in schema.samples()
    assert said(url, 0) == ""
    assert said(url, ROWS) == f"{ROWS} invented books were put into the empty database\n"
    assert counted(url, "books") == ROWS
    assert said(url, ROWS) == ""
    assert counted(url, "books") == ROWS
