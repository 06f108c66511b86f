"""Every way in which the plan of a search can break the promise is found, on real plans; and the statement that is sent passes."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.plans.explain import Node, explain_sql
from service.plans.searching import broken_search

INDEX = "ix_shelves_search_tag"
TABLE = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TABLE searched (id bigint PRIMARY KEY, tag text COLLATE "C" NOT NULL, room int NOT NULL);
INSERT INTO searched SELECT g, md5(g::text) || ' tag', g % 50 FROM generate_series(1, 20000) AS g;
CREATE INDEX ix_shelves_search_tag ON searched USING gin (tag gin_trgm_ops);
CREATE INDEX ix_searched_other ON searched (room, id);
ANALYZE searched
"""
FOUND = "WITH found AS MATERIALIZED (SELECT id FROM searched WHERE tag LIKE '%{part}%' LIMIT 1001)"
PAGE = ", page AS (SELECT id FROM found WHERE id > 7 ORDER BY id LIMIT 51)"
ROWS = "SELECT * FROM searched WHERE id = ANY (ARRAY(SELECT id FROM page)) ORDER BY id"


@pytest.fixture(scope="module")
async def searched(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection in whose transaction the table exists."""
    async with engine.connect() as connection:
        for statement in TABLE.split(";"):
            await connection.execute(text(statement))
        yield connection
        await connection.rollback()


async def faults(connection: AsyncConnection, sql: str, *off: str) -> list[str]:
    """What is wrong with the plan of a statement, made with some of the planner's means turned off."""
    for setting in ("indexscan", "bitmapscan", "seqscan", "sort", "incremental_sort", "hashjoin", "mergejoin", "nestloop"):
        await connection.exec_driver_sql(f"SET LOCAL enable_{setting} = {'off' if setting in off else 'on'}")
    return broken_search(await explain_sql(connection, sql), INDEX)


@pytest.mark.parametrize("part", ["abc", "tag", "qqq"])
async def test_a_plan_as_promised_passes(searched: AsyncConnection, part: str) -> None:
    assert await faults(searched, FOUND.format(part=part) + PAGE + ROWS, "seqscan", "sort", "incremental_sort") == []


BAD = {
    "a table read from its beginning": (FOUND.format(part="tag") + PAGE + ROWS, ("bitmapscan",), "a Seq Scan on searched"),
    "a walk of the primary key": (
        "SELECT * FROM searched WHERE tag LIKE '%tag%' ORDER BY id LIMIT 51",
        ("bitmapscan", "seqscan", "sort"),
        "a walk of searched_pkey: it isn't entered with the keys that were found",
    ),
    "no limit": (
        FOUND.format(part="abc").replace(" LIMIT 1001", "") + PAGE + ROWS,
        ("seqscan",),
        "no limit right above the search",
    ),
    "a sort of the rows": (
        "SELECT * FROM searched WHERE tag LIKE '%abc%' ORDER BY id LIMIT 51",
        ("seqscan", "indexscan"),
        "a Sort of more than the keys that were found",
    ),
    "something that the index doesn't know": (
        FOUND.format(part="abc").replace(" LIMIT", " AND room = 3 LIMIT") + PAGE + ROWS,
        ("seqscan",),
        "a filter after reading: (room = 3)",
    ),
    "another index": (
        "SELECT id FROM searched WHERE room = 3 AND tag <> 'x' LIMIT 1001",
        ("seqscan", "indexscan"),
        f"a scan of ix_searched_other where {INDEX} was promised",
    ),
    "rows by a join": (
        FOUND.format(part="abc") + PAGE + "SELECT searched.* FROM searched JOIN page USING (id)",
        ("nestloop", "mergejoin"),
        "a Hash Join on rows",
    ),
    "nothing of the table": ("SELECT 1", (), f"no scan of {INDEX}"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_planted_fault_is_found(searched: AsyncConnection, case: str) -> None:
    sql, off, expected = BAD[case]
    assert expected in await faults(searched, sql, *off)


def test_an_index_that_is_read_whole_is_found() -> None:
    scan = {"Node Type": "Bitmap Index Scan", "Index Name": INDEX}
    plan = {"Node Type": "Limit", "Plans": [{"Node Type": "Bitmap Heap Scan", "Plans": [scan]}]}
    assert broken_search(Node(plan), INDEX) == ["what is sought isn't part of the index condition (none)"]
