"""Index conditions, as PostgreSQL prints them, taken apart."""

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service.plans.condition import parts
from service.plans.explain import explain_sql

NAMES = ("room", "height", "id", "odd Name", "tag__folded", "tag", "open")
FOLDED = """lower(tag COLLATE "default") COLLATE "C\""""
CASES: dict[str, list[tuple[tuple[str, ...], bool]]] = {
    "room = 3 ORDER BY room, height DESC NULLS LAST": [(("room",), True)],
    "room = 3 AND (height, id) < (50, 7) AND height >= 20": [(("room",), True), (("height", "id"), False), (("height",), False)],
    "room = ANY (ARRAY[3]) AND height IS NULL AND id < 7 ORDER BY room, height DESC NULLS LAST, id DESC": [
        (("room",), True),
        (("height",), True),
        (("id",), False),
    ],
    "room = ANY (ARRAY[3]) AND height IS NOT NULL": [(("room",), True), (("height",), False)],
    '"odd Name" = 3 AND id > 19990': [(("odd Name",), True), (("id",), False)],
    f"{FOLDED} = 'x'' AND (room = 3) AND ('": [(("tag__folded",), True)],
    f"({FOLDED}, id) > ('Tag = 1', 7) AND {FOLDED} < 'tag 2'": [(("tag__folded", "id"), False), (("tag__folded",), False)],
    "id = ANY ('{1,2}')": [(("id",), True)],
}


@pytest.mark.parametrize("where", CASES)
async def test_the_conditions_of_a_real_plan(planner: AsyncConnection, where: str) -> None:
    for setting in ("seqscan", "bitmapscan", "sort"):
        await planner.exec_driver_sql(f"SET LOCAL enable_{setting} = off")
    plan = await explain_sql(planner, f"SELECT * FROM shelves WHERE {where}")
    (condition,) = [node.condition for node in plan.walk() if node.index]
    assert {(part.names, part.pins) for part in parts(condition, NAMES)} == set(CASES[where])


def test_no_condition_has_no_parts() -> None:
    assert parts("", NAMES) == []


def test_a_boolean_column_stands_alone_in_older_versions() -> None:
    assert [(part.names, part.pins) for part in parts("(open AND (id > 7))", NAMES)] == [(("open",), True), (("id",), False)]


def test_an_expression_that_is_no_key_has_no_name() -> None:
    assert [part.names for part in parts("(upper(tag) = 'X'::text)", NAMES)] == [(None,)]


def test_a_bound_says_which_way_it_goes() -> None:
    found = parts("((a >= 1) AND (a < 2) AND (ROW(b, c) > ROW(1, 2)) AND (d = 3) AND (e IS NOT NULL))", tuple("abcde"))
    assert [part.way for part in found] == [">", "<", ">", "", ""]
