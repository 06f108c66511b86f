"""Keys and unique values that several lines want: against a plain model in Python, and one by one in words."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db import table_of
from tests.fixtures.statements import told
from tests.jobs.depot import HEADER, Thing, counts, depot, imported, stored


@pytest.fixture
async def things(importing_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    async with depot(importing_engine) as ready:
        yield ready


@dataclass(frozen=True)
class Line:
    """A line of a file: key, unique value, and something else."""

    key: str
    code: str
    label: str


lines = st.builds(Line, st.sampled_from("abcd"), st.sampled_from(["", "1", "2", "3"]), st.sampled_from("xy"))
files = st.lists(lines, max_size=9)


def expected(file: list[Line], held: dict[str, Line]) -> tuple[dict[str, Line], set[int]]:
    """The rows after an import and the rejected lines, by the three rules; `held` are rows by `source/key`."""
    last = {f"s/{line.key}": number for number, line in enumerate(file, 2)}
    alive = {number: line for number, line in enumerate(file, 2) if last[f"s/{line.key}"] == number}
    while refused := _held(alive, held) or _contested(alive):
        alive = {number: line for number, line in alive.items() if number not in refused}
    rows = held | {f"s/{line.key}": line for line in alive.values()}
    return rows, set(range(2, len(file) + 2)) - alive.keys()


def _held(alive: dict[int, Line], held: dict[str, Line]) -> set[int]:
    moving = {f"s/{line.key}": line.code for line in alive.values()}
    kept = {row.code: name for name, row in held.items() if row.code and moving.get(name, row.code) == row.code}
    return {number for number, line in alive.items() if kept.get(line.code, f"s/{line.key}") != f"s/{line.key}"}


def _contested(alive: dict[int, Line]) -> set[int]:
    first: dict[str, int] = {}
    for number, line in sorted(alive.items()):
        first.setdefault(line.code, number)
    return {number for number, line in alive.items() if line.code and first[line.code] != number}


def written(file: list[Line]) -> str:
    return HEADER + "".join(f"{line.key},{line.code},,{line.label},,\n" for line in file)


async def rows(importing_engine: AsyncEngine) -> dict[str, Line]:
    found = await stored(importing_engine, "origin_key", "code", "label")
    return {name: Line(key, code or "", label) for name, (key, code, label) in found.items()}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(foreign=st.sampled_from(["", "1", "2"]), before=files, file=files, chunk=st.integers(1, 4))
async def test_files_end_as_the_rules_say(
    things: AsyncEngine, foreign: str, before: list[Line], file: list[Line], chunk: int
) -> None:
    async with things.begin() as connection:
        await connection.execute(delete(table_of(Thing)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "things.csv"
        await imported(things, path, written([Line("f", foreign, "x")]), source="other")
        await imported(things, path, written(before), chunk=chunk)
        held = await rows(things)
        after, rejected = expected(file, held)
        dry, would_reject = await imported(things, path, written(file), chunk=chunk, dry_run=True)
        assert await rows(things) == held
        first, rejects = await imported(things, path, written(file), chunk=chunk)
        assert await rows(things) == after
        assert (set(rejects), would_reject, counts(dry)) == (rejected, rejects, counts(first))
        changed = [name for name, row in after.items() if name in held and held[name] != row]
        assert counts(first) == (
            len(file),
            len(after) - len(held),
            len(changed),
            len(file) - len(rejected) - len(after) + len(held) - len(changed),
            len(rejected),
        )
        second, again = await imported(things, path, written(file), chunk=chunk)
        assert set(again) == set(rejects)
        assert counts(second) == (len(file), 0, 0, len(file) - len(rejected), len(rejected))
        assert await rows(things) == after


async def test_the_last_of_a_key_wins(things: AsyncEngine, tmp_path: Path) -> None:
    text = HEADER + "1,,,first,,\n2,,,two,,\n1,,,second,,\n1,,,third,,\n"
    for expected_counts in ((4, 2, 0, 0, 2), (4, 0, 0, 2, 2)):
        summary, rejects = await imported(things, tmp_path / "f.csv", text, chunk=1)
        assert counts(summary) == expected_counts
        assert rejects == dict.fromkeys((2, 4), "line 5 has the same key (1), and the last one wins")
    assert await stored(things, "label") == {"s/1": ("third",), "s/2": ("two",)}


async def test_a_unique_value_goes_to_the_first_line_and_stays_there(things: AsyncEngine, tmp_path: Path) -> None:
    text = HEADER + "1,A,É,one,,\n2,A,,two,,\n3,B,é,three,,\n"
    for _ in range(2):
        _, rejects = await imported(things, tmp_path / "f.csv", text)
        assert rejects == {3: "code A: line 2 of this file has it too", 4: "serial é: line 2 of this file has it too"}
    turned = HEADER + "2,A,,two,,\n1,A,É,one,,\n"
    _, rejects = await imported(things, tmp_path / "f.csv", turned)
    assert rejects == {2: "code A: line 3 of this file has it too"}  # the holder keeps it, wherever it stands


async def test_a_value_that_another_source_holds(things: AsyncEngine, tmp_path: Path) -> None:
    await imported(things, tmp_path / "f.csv", HEADER + "1,A,,one,,\n", source="other")
    summary, rejects = await imported(things, tmp_path / "f.csv", HEADER + "1,A,,one,,\n")
    assert counts(summary) == (1, 0, 0, 0, 1)
    assert rejects[2].startswith("code A: another row of depot_things has it (id ")


async def test_a_column_that_slipped_by_a_line(things: AsyncEngine, tmp_path: Path) -> None:
    """Each row wants what the next one holds, the last one what another source has: as many statements, however many rows."""

    def chain(rows: int, by: int) -> str:
        return HEADER + "".join(f"{rows}-{nr},{rows}-{nr + by},,x,,\n" for nr in range(rows))

    sent = list[int]()
    for rows in (4, 40):
        statements = list[str]()
        await imported(things, tmp_path / "f.csv", HEADER + f"{rows},{rows}-{rows},,x,,\n", source="other")
        await imported(things, tmp_path / "f.csv", chain(rows, 0))
        with told(things, lambda statement, _: statements.append(statement)):  # noqa: B023 - called within the loop
            summary, rejects = await imported(things, tmp_path / "f.csv", chain(rows, 1))
        ids = await stored(things, "id")
        assert counts(summary) == (rows, 0, 0, 0, rows)
        assert rejects[2] == f"code {rows}-1: another row of depot_things has it (id {ids[f's/{rows}-1'][0]})"
        sent.append(len(statements))
    assert sent[0] == sent[1]


@pytest.mark.parametrize("chunk", [1, 100])
async def test_values_change_hands(things: AsyncEngine, tmp_path: Path, chunk: int) -> None:
    await imported(things, tmp_path / "f.csv", HEADER + "1,A,P,x,,\n2,B,Q,x,,\n3,C,R,x,,\n4,D,S,x,,\n")
    text = HEADER + "4,D,S,y,,\n1,B,P,x,,\n2,C,R,x,,\n3,A,Q,x,,\n"
    for expected_counts in ((4, 0, 4, 0, 0), (4, 0, 0, 4, 0)):
        summary, rejects = await imported(things, tmp_path / "f.csv", text, chunk=chunk)
        assert (counts(summary), rejects) == (expected_counts, {})
    assert await stored(things, "code", "serial") == {
        "s/1": ("B", "P"),
        "s/2": ("C", "R"),
        "s/3": ("A", "Q"),
        "s/4": ("D", "S"),
    }


async def test_a_value_that_is_given_up_for_nothing(things: AsyncEngine, tmp_path: Path) -> None:
    await imported(things, tmp_path / "f.csv", HEADER + "1,A,,x,,\n2,,,x,,\n")
    text = HEADER + "1,,,x,,\n2,A,,x,,\n"
    for expected_counts in ((2, 0, 2, 0, 0), (2, 0, 0, 2, 0)):
        summary, rejects = await imported(things, tmp_path / "f.csv", text)
        assert (counts(summary), rejects) == (expected_counts, {})


async def test_values_change_hands_while_others_are_left_alone(things: AsyncEngine, tmp_path: Path) -> None:
    await imported(things, tmp_path / "f.csv", HEADER + "1,A,P,x,,\n2,B,Q,x,,\n")
    summary, _ = await imported(things, tmp_path / "f.csv", "nr,code,label\n1,B,x\n2,A,x\n")
    assert counts(summary) == (2, 0, 2, 0, 0)
    assert await stored(things, "code", "serial") == {"s/1": ("B", "P"), "s/2": ("A", "Q")}
