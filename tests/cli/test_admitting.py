"""The key of `shelfmark up`: the same as long as it works, and one that works in any case."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

from service.cli.admitting import admit
from service.http.tokens import Signatures, prefix_of
from service.local import header
from tests.fixtures.databases import new_database, template
from tests.fixtures.keys import SIGNATURES
from tests.fixtures.servers import Servers


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    """A migrated database without keys."""
    async with new_database(servers, await template(servers)) as made:
        yield made


def executed(url: str, statement: str) -> list[Any]:
    """What a statement gives: the first column."""

    async def execute() -> list[Any]:
        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.begin() as connection:
            found = await connection.execute(text(statement))
            rows = list(found.scalars()) if found.returns_rows else []
        await engine.dispose()
        return rows

    return asyncio.run(execute())


def kept(directory: Path) -> str:
    """The key that is kept."""
    token = header.kept(directory)
    assert token
    assert prefix_of(token.encode())
    return token


def prefixes(url: str) -> list[str]:
    """The keys that the database knows, the first one first."""
    return executed(url, "SELECT prefix FROM shelfmark_keys ORDER BY created_at")


def test_made_once(url: str, tmp_path: Path) -> None:
    assert admit(url, SIGNATURES, tmp_path)
    token = kept(tmp_path)
    assert admit(url, SIGNATURES, tmp_path)
    assert kept(tmp_path) == token
    assert prefixes(url) == [token[6:14]]
    assert executed(url, "SELECT scopes FROM shelfmark_keys") == [["admin"]]


def test_a_new_database_hears_of_the_old_key(url: str, tmp_path: Path) -> None:
    """Someone threw the data away, and has the key in a script."""
    admit(url, SIGNATURES, tmp_path)
    token = kept(tmp_path)
    executed(url, "DELETE FROM shelfmark_keys")
    assert admit(url, SIGNATURES, tmp_path)
    assert (kept(tmp_path), prefixes(url)) == (token, [token[6:14]])


@pytest.mark.parametrize("what", ["revoked_at = clock_timestamp()", "expires_at = clock_timestamp()", "signature = 'x'"])
def test_one_that_works_no_more_is_replaced(url: str, tmp_path: Path, what: str) -> None:
    """And left as it is: who revoked it meant it."""
    admit(url, SIGNATURES, tmp_path)
    before = kept(tmp_path)
    executed(url, f"UPDATE shelfmark_keys SET {what}")
    assert admit(url, SIGNATURES, tmp_path)
    assert kept(tmp_path) != before
    assert prefixes(url) == [before[6:14], kept(tmp_path)[6:14]]


def test_another_secret_needs_another_key(url: str, tmp_path: Path) -> None:
    admit(url, SIGNATURES, tmp_path)
    before = kept(tmp_path)
    assert admit(url, Signatures([b"n" * 32]), tmp_path)
    assert kept(tmp_path) != before


@pytest.mark.parametrize("content", ["", "nonsense", "Authorization: Bearer shelf_nonsense"])
def test_a_spoilt_header_is_made_anew(url: str, tmp_path: Path, content: str) -> None:
    (tmp_path / header.NAME).write_text(content)
    assert admit(url, SIGNATURES, tmp_path)
    assert prefixes(url) == [kept(tmp_path)[6:14]]


def test_before_the_first_migration(empty_database: str, url: str, tmp_path: Path) -> None:
    """The header is there, and stays the same; it lets in once the table is there."""
    assert not admit(empty_database, SIGNATURES, tmp_path)
    token = kept(tmp_path)
    assert not admit(empty_database, SIGNATURES, tmp_path)
    assert admit(url, SIGNATURES, tmp_path)
    assert (kept(tmp_path), prefixes(url)) == (token, [token[6:14]])
