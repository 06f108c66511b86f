"""Every way in which a plan can break the promise is found, on real plans; and what is allowed passes."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service.contract.choose import Choice, choose
from service.contract.path import Contract, Key, Path, Term
from service.contract.question import Bound, Question, Range, Sort
from service.plans.check import broken
from service.plans.explain import Node, explain_sql

DOWN, ID_DOWN = Key("height", descending=True, nullable=True), Key("id", descending=True, nulls_first=True)
PATHS = {
    path.name: path
    for path in (
        Path("shelves_pkey", (Key("id"),), unique=True),
        Path("ix_shelves_by_room", (Key("room"), DOWN, ID_DOWN)),
        Path("ix_shelves_by_height", (DOWN, ID_DOWN)),
        Path("ix_shelves_by_tag", (Key("tag__folded", text=True), Key("id"))),
        Path("ix_shelves_open", (DOWN, ID_DOWN), predicate=(Term("open", value=True),)),
    )
}
CONTRACT = Contract("shelves", ("id",), tuple(PATHS.values()), nullable=frozenset({"height"}))
TALLEST = (Sort("height", descending=True),)
IN_ROOM = Question({"room": 3}, sort=TALLEST)
ROOM, TAIL = "SELECT * FROM shelves WHERE room = 3", "ORDER BY room, height DESC NULLS LAST, id DESC LIMIT 5"

RIVAL = "has another bound on the same side: the index is entered at one of them, maybe far from the page"


def along(name: str, question: Question) -> Choice:
    """The choice of one path."""
    choice = choose(replace(CONTRACT, paths=(PATHS[name],)), question)
    assert choice
    return choice


async def faults(planner: AsyncConnection, sql: str, question: Question, path: str, *off: str) -> list[str]:
    """What is wrong with the plan of a statement, made with some of the planner's means turned off."""
    for setting in ("indexscan", "bitmapscan", "seqscan", "sort", "incremental_sort"):
        await planner.exec_driver_sql(f"SET LOCAL enable_{setting} = {'off' if setting in off else 'on'}")
    return broken(await explain_sql(planner, sql), question, along(path, question))


GOOD = {
    "the first page": (f"{ROOM} {TAIL}", IN_ROOM, "ix_shelves_by_room"),
    "a page after a row": (f"{ROOM} AND (height, id) < (50, 7) {TAIL}", IN_ROOM, "ix_shelves_by_room"),
    "a page among NULLs": (f"{ROOM} AND height IS NULL AND id < 15000 {TAIL}", IN_ROOM, "ix_shelves_by_room"),
    "a range and a row in it": (
        f"{ROOM} AND height >= 20 AND (height, id) < (50, 7) {TAIL}",
        Question({"room": 3}, (Range("height", Bound(20, inclusive=True), Bound(60, inclusive=False)),), sort=TALLEST),
        "ix_shelves_by_room",
    ),
    "ranges put together": (
        f"({ROOM} AND (height, id) < (50, 7) {TAIL}) UNION ALL ({ROOM} AND height IS NULL {TAIL}) LIMIT 5",
        IN_ROOM,
        "ix_shelves_by_room",
    ),
    "a pin by ANY": (f"{ROOM.replace('= 3', '= ANY (ARRAY[3])')} {TAIL}", IN_ROOM, "ix_shelves_by_room"),
    "a folded key": (
        """SELECT * FROM shelves WHERE lower(tag COLLATE "default") COLLATE "C" = 'tag (1) AND (' ORDER BY id LIMIT 5""",
        Question({"tag__folded": "tag (1) AND ("}, sort=(Sort("id"),)),
        "ix_shelves_by_tag",
    ),
    "a partial index, whose predicate is no condition": (
        "SELECT * FROM shelves WHERE open AND height > 5 ORDER BY height DESC NULLS LAST, id DESC LIMIT 5",
        Question({"open": True}, (Range("height", Bound(5, inclusive=False)),), sort=TALLEST),
        "ix_shelves_open",
    ),
    "several values": (
        "SELECT * FROM shelves WHERE id = ANY ('{1,2,3}') ORDER BY tag",
        Question(among={"id": (1, 2, 3)}),
        "shelves_pkey",
    ),
}


@pytest.mark.parametrize("case", GOOD)
async def test_a_plan_as_promised_passes(planner: AsyncConnection, case: str) -> None:
    sql, question, path = GOOD[case]
    assert await faults(planner, sql, question, path, "bitmapscan") == []


async def test_several_values_may_be_collected_by_bitmap_and_sorted(planner: AsyncConnection) -> None:
    sql, question, path = GOOD["several values"]
    assert await faults(planner, sql, question, path, "indexscan", "seqscan") == []


async def test_what_postgresql_knows_without_reading_passes(planner: AsyncConnection) -> None:
    assert await faults(planner, f"{ROOM} AND false {TAIL}", IN_ROOM, "ix_shelves_by_room") == []


BAD: dict[str, tuple[str, Question, str, tuple[str, ...], str]] = {
    "Seq Scan": (f"{ROOM} {TAIL}", IN_ROOM, "ix_shelves_by_room", ("indexscan", "bitmapscan"), "a Seq Scan on shelves"),
    "Sort": (f"{ROOM} ORDER BY tag LIMIT 5", IN_ROOM, "ix_shelves_by_room", ("bitmapscan", "seqscan"), "a Sort on rows"),
    "Incremental Sort": (
        f"{ROOM} ORDER BY height DESC NULLS LAST, id LIMIT 5",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan", "sort"),
        "an Incremental Sort on rows",
    ),
    "bitmap": (f"{ROOM} {TAIL}", IN_ROOM, "ix_shelves_by_room", ("indexscan", "seqscan"), "a Bitmap Heap Scan on shelves"),
    "filter": (
        f"{ROOM} AND tag <> 'x' {TAIL}",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan"),
        "a filter after reading: (tag <> 'x'::text)",
    ),
    "another index": (
        "SELECT * FROM shelves WHERE room = 3 ORDER BY id DESC LIMIT 5",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan", "sort"),
        "a scan of shelves_pkey where ix_shelves_by_room was promised",
    ),
    "no condition": (
        "SELECT * FROM shelves ORDER BY room, height DESC NULLS LAST, id DESC LIMIT 5",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan"),
        "room isn't part of the index condition (none)",
    ),
    "a condition behind a key that isn't fixed": (
        "SELECT * FROM shelves WHERE height = 7 ORDER BY room, height DESC NULLS LAST, id DESC LIMIT 5",
        Question(sort=(Sort("room"), *TALLEST)),
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan", "sort"),
        "height = 7 doesn't narrow what is read: the keys before it aren't fixed",
    ),
    "a key compared by itself where the one before is only bounded": (
        f"{ROOM} AND height <= 50 AND id < 7 {TAIL}",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan"),
        "id < 7 doesn't narrow what is read: the keys before it aren't fixed",
    ),
    "a row comparison that leaves out a key": (
        f"{ROOM.replace('= 3', '>= 3')} AND (height, id) < (50, 7) {TAIL}",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan", "sort"),
        "ROW(height, id) < ROW(50, 7) doesn't narrow what is read: the keys before it aren't fixed",
    ),
    "the end of a range beside a row comparison": (
        f"{ROOM} AND height <= 60 AND (height, id) < (50, 7) {TAIL}",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan"),
        f"ROW(height, id) < ROW(50, 7) {RIVAL}",
    ),
    "no limit": (
        f"{ROOM} {TAIL.removesuffix(' LIMIT 5')}",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan", "sort"),
        "no limit around all of it",
    ),
    "the customary OR": (
        f"{ROOM} AND (height < 50 OR (height = 50 AND id < 7) OR height IS NULL) {TAIL}",
        IN_ROOM,
        "ix_shelves_by_room",
        ("bitmapscan", "seqscan"),
        "a filter after reading: ((height < 50) OR ((height = 50) AND (id < 7)) OR (height IS NULL))",
    ),
    "nothing of the table": (
        "SELECT count(*) FROM (VALUES (1)) AS v LIMIT 1",
        IN_ROOM,
        "ix_shelves_by_room",
        (),
        "an Aggregate on rows",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_planted_fault_is_found(planner: AsyncConnection, case: str) -> None:
    sql, question, path, off, expected = BAD[case]
    assert expected in await faults(planner, sql, question, path, *off)


def test_a_plan_without_any_scan_is_no_proof() -> None:
    plan: dict[str, Any] = {"Node Type": "Limit", "Plans": [{"Node Type": "Append", "Plans": []}]}
    assert broken(Node(plan), IN_ROOM, along("ix_shelves_by_room", IN_ROOM)) == ["no scan of ix_shelves_by_room"]
