"""What is written of staged rows: what differs, what is new, and the names that they refer to."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db import table_of
from tests.jobs.depot import HEADER, Owner, counts, depot, imported, stored


@pytest.fixture
async def things(importing_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    async with depot(importing_engine) as ready:
        yield ready


async def test_two_imports_at_once_find_the_same_owners(things: AsyncEngine, tmp_path: Path) -> None:
    def owned(end: str) -> str:
        people = [f"É{number}" for number in range(30)]
        return HEADER + "".join(f"{end}{person},,,x,1,{person if end == 'a' else person.lower()}\n" for person in people)

    both = [imported(things, tmp_path / f"{end}.csv", owned(end), source=end, chunk=3) for end in ("a", "b")]
    assert [counts(summary) for summary, _ in await asyncio.gather(*both)] == [(30, 30, 0, 0, 0)] * 2
    async with things.connect() as connection:
        assert len((await connection.execute(select(table_of(Owner)))).all()) == 30


async def test_only_what_differs_is_updated(things: AsyncEngine, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    await imported(things, path, "nr,code,name,colour\n1,A,one,red\n2,B,two,\n")
    before = await stored(things, "id", "amount", "more")
    assert [row[2] for row in before.values()] == [{"colour": "red"}, {}]
    summary, _ = await imported(things, path, "nr,code,name,colour\n1,A,one,blue\n2,B,two,\n")
    assert counts(summary) == (2, 0, 1, 1, 0)
    summary, _ = await imported(things, path, "nr,name,owner,colour\n1,one,Ada,blue\n2,two,,\n")
    assert counts(summary) == (2, 0, 1, 1, 0)
    assert await stored(things, "code") == {"s/1": ("A",), "s/2": ("B",)}  # a column that the file lacks is left alone
    summary, _ = await imported(things, path, "nr,name,owner,colour\n1,one,ADA,blue\n2,two,,\n")
    assert counts(summary) == (2, 0, 0, 2, 0)
