"""Windows of rows: what the database refuses, other writers, checkpoints, and an end in the middle."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.db import table_of
from service.errors import SetupError, ShelfmarkError
from service.jobs.importing import Options, Progress, run_import
from service.jobs.merging import Checkpoint
from service.jobs.shaping import Import
from tests.fixtures.statements import told
from tests.jobs.depot import HEADER, Owner, Thing, counts, depot, imported, stored
from tests.jobs.depot import things as declared

ROWS = 40


@pytest.fixture
async def things(importing_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    async with depot(importing_engine) as ready:
        yield ready


def numbered(rows: int = ROWS, label: str = "x", owner: str = "") -> str:
    return HEADER + "".join(f"{number},C{number},,{label},{number},{owner}\n" for number in range(1, rows + 1))


async def test_a_rule_of_the_table_rejects_its_row_alone(things: AsyncEngine, tmp_path: Path) -> None:
    text_ = numbered() + "90,,,bad,-1,\n91,,,good,1,\n92,," + "é" * 5000 + ",fine,1,\n93,,,worse,-7,\n"
    reasons = dict.fromkeys((ROWS + 2, ROWS + 5), "it breaks the rule ck_depot_things_amount_positive of depot_things")
    for expected in ((ROWS + 4, ROWS + 2, 0, 0, 2), (ROWS + 4, 0, 0, ROWS + 2, 2)):
        dry, would = await imported(things, tmp_path / "f.csv", text_, dry_run=True)
        summary, rejects = await imported(things, tmp_path / "f.csv", text_)
        assert (counts(summary), rejects) == (expected, reasons)
        assert (counts(dry), would) == (counts(summary), rejects)


async def test_too_many_rows_that_break_a_rule(things: AsyncEngine, tmp_path: Path) -> None:
    """They count together with those that were rejected before; what is merged already stays."""
    path = tmp_path / "f.csv"
    path.write_text(numbered() + "90,,,,1,\n" + "".join(f"{number},,,bad,-1,\n" for number in range(100, 110)))
    with pytest.raises(SetupError, match="has more than 10 records that can't be imported, so nothing was"):
        await run_import(things, declared, path, Options(source="s", chunk=40, rejected_most=10, dry_run=True))
    with pytest.raises(
        SetupError, match="more than 10 records that can't be imported, so the import ended after 40 rows, which stay"
    ):
        await run_import(things, declared, path, Options(source="s", chunk=40, rejected_most=10))
    assert len(await stored(things, "id")) == ROWS
    resumed = Checkpoint(line=ROWS + 1, inserted=ROWS)
    with pytest.raises(SetupError, match="so the import ended after 40 rows"):
        await run_import(things, declared, path, Options(source="s", rejected_most=0), resumed=resumed)
    assert counts(await run_import(things, declared, path, Options(source="s", rejected_most=11))) == (51, 0, 0, ROWS, 11)


async def test_rows_that_break_a_rule_are_kept_once_in_each_window(things: AsyncEngine, tmp_path: Path) -> None:
    """A checkpoint has them all: kept at each, they would cost their square. Who goes on before a window's end finds them."""
    path, saved = tmp_path / "f.csv", list[Checkpoint]()
    path.write_text(HEADER + "".join(f"{number},C{number},,x,{number % 2 - 1},\n" for number in range(ROWS)))

    async def save(connection: AsyncConnection, reached: Checkpoint) -> None:
        saved.append(reached)
        if len(saved) == 16:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run_import(things, declared, path, Options(source="s", chunk=20), save=save)
    assert [(one.line, len(one.late), one.inserted) for one in saved[8:14]] == [
        (0, 0, 9), (0, 0, 10), (21, 10, 10), (21, 10, 11), (21, 10, 12), (21, 10, 13)
    ]  # fmt: skip
    summary = await run_import(things, declared, path, Options(source="s", chunk=20), resumed=saved[14])
    assert counts(summary) == (ROWS, 20, 0, 0, 20)


async def test_statements_have_one_form_however_many_rows_break_a_rule(things: AsyncEngine, tmp_path: Path) -> None:
    """Else each would be compiled and prepared anew."""
    forms = dict[int, set[str]]()
    for bad in (4, 16):
        sent = forms[bad] = set[str]()
        with told(things, lambda statement, _: sent.add(statement)):  # noqa: B023 - called within the loop
            rows = "".join(f"{nr},,,x,{-(nr % (ROWS // bad) == 0)},\n" for nr in range(ROWS // bad * bad))
            summary, _ = await imported(things, tmp_path / "f.csv", HEADER + rows, source=str(bad))
        assert summary.rejected == bad
    assert len(forms[4]) == len(forms[16])


async def test_a_value_too_long_for_an_index(things: AsyncEngine, tmp_path: Path) -> None:
    noise = "".join(chr(0x4E00 + (place * place * 31 + place * 7919) % 20_000) for place in range(4000))
    summary, rejects = await imported(things, tmp_path / "f.csv", numbered() + f"90,,,{noise},1,\n")
    assert counts(summary) == (ROWS + 1, ROWS, 0, 0, 1)
    assert rejects == {ROWS + 2: "a value is too long for an index of the table"}


async def test_another_writer_takes_a_value_meanwhile(things: AsyncEngine, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(numbered())

    async def sneaked(connection: AsyncConnection, reached: Checkpoint) -> None:
        if reached.line <= 11:
            async with things.begin() as other:
                await other.execute(insert(table_of(Thing)).values(code="C30", label="thief", origin="o", origin_key="1"))

    rejects = tmp_path / "r.csv"
    summary = await run_import(things, declared, path, Options(source="s", chunk=10, rejects=rejects), save=sneaked)
    assert counts(summary) == (ROWS, ROWS - 1, 0, 0, 1)
    assert "31,code: another row of depot_things has it" in rejects.read_text()
    again, _ = await imported(things, path, numbered())
    assert counts(again) == (ROWS, 0, 0, ROWS - 1, 1)


async def test_an_end_in_the_middle_leaves_whole_windows(things: AsyncEngine, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(numbered())

    async def killed(connection: AsyncConnection, reached: Checkpoint) -> None:
        if reached.line > 11:
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
            async with things.connect() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await connection.scalar(text("SELECT 1"))

    with pytest.raises(ShelfmarkError, match="went away after 10 rows"):
        await run_import(things, declared, path, Options(source="s", chunk=10), save=killed)
    assert len(await stored(things, "id")) == 10
    summary, _ = await imported(things, path, numbered())
    assert counts(summary) == (ROWS, ROWS - 10, 0, 10, 0)


async def test_checkpoints_can_be_gone_on_from(things: AsyncEngine, tmp_path: Path) -> None:
    path, saved = tmp_path / "f.csv", []
    path.write_text(numbered() + "90,,,bad,-1,\n")

    async def save(connection: AsyncConnection, reached: Checkpoint) -> None:
        saved.append(reached)
        if reached.line == 21:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run_import(things, declared, path, Options(source="s", chunk=10), save=save)
    assert [(reached.line, reached.inserted) for reached in saved] == [(11, 10), (21, 20)]
    summary = await run_import(things, declared, path, Options(source="s", chunk=10), resumed=saved[0])
    assert counts(summary) == (ROWS + 1, ROWS, 0, 0, 1)


def swapped(rows: int, *bad: int) -> str:
    """Rows of which each pair swaps its codes; the bad ones break a rule."""
    return HEADER + "".join(f"{nr},C{nr - 1 + 2 * (nr % 2)},,x,{-1 if nr in bad else nr},\n" for nr in range(1, rows + 1))


async def test_a_row_that_breaks_a_rule_among_values_that_change_hands(things: AsyncEngine, tmp_path: Path) -> None:
    """It is rejected, with the row that wants what it keeps; what others swap, in whatever order, changes hands."""
    await imported(things, tmp_path / "f.csv", numbered(12))
    ids = await stored(things, "id")
    reasons = {nr + 1: "it breaks the rule ck_depot_things_amount_positive of depot_things" for nr in (3, 8)}
    reasons |= {nr + 1: f"code C{by}: another row of depot_things has it (id {ids[f's/{by}'][0]})" for nr, by in ((4, 3), (7, 8))}
    for expected in ((12, 0, 8, 0, 4), (12, 0, 0, 8, 4)):
        dry, would = await imported(things, tmp_path / "f.csv", swapped(12, 3, 8), dry_run=True)
        summary, rejects = await imported(things, tmp_path / "f.csv", swapped(12, 3, 8))
        assert (counts(summary), rejects) == (expected, reasons)
        assert (counts(dry), would) == (counts(summary), rejects)
    codes = {f"s/{nr}": (f"C{nr if nr in {3, 4, 7, 8} else nr - 1 + 2 * (nr % 2)}",) for nr in range(1, 13)}
    assert await stored(things, "code") == codes


async def test_too_many_among_values_that_change_hands(things: AsyncEngine, tmp_path: Path) -> None:
    await imported(things, tmp_path / "f.csv", numbered(8))
    for bad in ((2,), (2, 3, 5)):
        with pytest.raises(SetupError, match="more than 1 records that can't be imported, so nothing was"):
            await imported(things, tmp_path / "f.csv", swapped(8, *bad), rejected_most=1)
    assert (await stored(things, "code"))["s/7"] == ("C7",)


async def test_values_that_change_hands_are_gone_on_with(things: AsyncEngine, tmp_path: Path) -> None:
    """They are merged first and together; who goes on knows which of them the table has refused."""
    path, saved = tmp_path / "f.csv", list[Checkpoint]()
    await imported(things, path, numbered(8))
    path.write_text(swapped(12, 7))

    async def save(connection: AsyncConnection, reached: Checkpoint) -> None:
        if saved:
            raise asyncio.CancelledError
        saved.append(reached)

    with pytest.raises(asyncio.CancelledError):
        await run_import(things, declared, path, Options(source="s"), save=save)
    assert (saved[0].line, saved[0].updated, [line for line, _ in saved[0].late]) == (0, 6, [8])
    summary = await run_import(things, declared, path, Options(source="s"), resumed=saved[0])
    assert counts(summary) == (12, 4, 6, 0, 2)
    assert await stored(things, "code") == {
        f"s/{nr}": (f"C{nr if nr in {7, 8} else nr - 1 + 2 * (nr % 2)}",) for nr in range(1, 13)
    }


@pytest.mark.parametrize("taker", [5, 1])
async def test_values_that_change_hands_between_two_runs(things: AsyncEngine, tmp_path: Path, taker: int) -> None:
    """Somebody gives one row the value of another before or behind the line that the first run has reached."""
    path, saved = tmp_path / "f.csv", list[Checkpoint]()
    await imported(things, path, numbered(8))
    path.write_text(numbered(8, label="new"))

    async def save(connection: AsyncConnection, reached: Checkpoint) -> None:
        if saved:
            raise asyncio.CancelledError
        saved.append(reached)

    with pytest.raises(asyncio.CancelledError):
        await run_import(things, declared, path, Options(source="s", chunk=2), save=save)
    table, noted = table_of(Thing), list[Checkpoint]()
    async with things.begin() as connection:
        await connection.execute(update(table).where(table.c.origin_key == str(taker + 1)).values(code=None))
        await connection.execute(update(table).where(table.c.origin_key == str(taker)).values(code=f"C{taker + 1}"))

    async def note(connection: AsyncConnection, reached: Checkpoint) -> None:
        noted.append(reached)

    steps = list[Progress]()
    summary = await run_import(things, declared, path, Options(source="s", chunk=2), steps.append, resumed=saved[0], save=note)
    assert steps[-1] == Progress("merging", 8, 8)
    assert counts(summary) == (8, 0, 8, 0, 0)
    assert await stored(things, "code", "label") == {f"s/{nr}": (f"C{nr}", "new") for nr in range(1, 9)}
    assert (noted[0].line, noted[0].updated) == (saved[0].line, 4 if taker == 5 else 2)  # what is counted already isn't again


async def test_cancelling_leaves_nothing_behind(things: AsyncEngine, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(numbered())
    reached = asyncio.Event()

    def told(progress: Progress) -> None:
        if progress.stage == "merging":
            reached.set()

    task = asyncio.create_task(run_import(things, declared, path, Options(source="s", chunk=1), told))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await stored(things, "id")) < ROWS
    summary, _ = await imported(things, path, numbered())  # its lock is free, its staging tables are gone
    assert summary.inserted + summary.unchanged == ROWS


async def test_two_imports_of_one_source(things: AsyncEngine, tmp_path: Path) -> None:
    async def second(connection: AsyncConnection, reached: Checkpoint) -> None:
        with pytest.raises(SetupError, match="from the source 's' is running"):
            await imported(things, tmp_path / "other.csv", numbered())

    path = tmp_path / "f.csv"
    path.write_text(numbered())
    summary = await run_import(things, declared, path, Options(source="s"), save=second)
    assert summary.inserted == ROWS


async def test_a_dry_run_writes_nothing(things: AsyncEngine, tmp_path: Path) -> None:
    summary, _ = await imported(things, tmp_path / "f.csv", numbered(owner="Ada"), dry_run=True)
    assert (counts(summary), summary.dry_run) == ((ROWS, ROWS, 0, 0, 0), True)
    assert await stored(things, "id") == {}
    async with things.connect() as connection:
        assert (await connection.execute(select(table_of(Owner)))).all() == []


async def test_a_missing_table_says_what_to_do(importing_engine: AsyncEngine, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="shelfmark migrate"):
        await imported(importing_engine, tmp_path / "f.csv", numbered())


def test_a_table_without_the_unique_index_is_refused() -> None:
    wrong: dict[str, Any] = {"source": Thing.origin, "key": Thing.label, "keys": ("nr",)}
    with pytest.raises(SetupError, match="no unique index on label, origin"):
        Import(Thing, declared.shape, **wrong)
