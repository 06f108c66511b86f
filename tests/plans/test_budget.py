"""How many buffers are enough: what the numbers mean, and that one buffer more is a fault of the proof."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from service.contract.served import served
from service.db import surface
from service.db.searching import SEARCH_MOST
from service.db.statements import Asked
from service.plans import budget
from service.plans.forms import PAGE
from service.plans.proof import Fault
from service.plans.questions import Last
from tests.fixtures.rows import MODELS, ROWS, Full
from tests.plans.test_proof import ORDER, OURS, Raw, proven

MILLION = 1_000_000
SEARCHED = [model.__tablename__ for model in MODELS if any(one.kind == "search" for one in served(surface(model).contract))]
PAGES = text("SELECT relpages FROM pg_class WHERE oid = to_regclass(:table)")


@dataclass(frozen=True)
class Limited(Raw):
    """A page of raw SQL that may touch so many buffers."""

    enough: int = 0

    def most(self, asked: Asked, last: Last | None, rows: Sequence[Any], table_rows: int) -> int:  # noqa: ARG002 - as all forms
        """As it was said."""
        return self.enough


async def ran(full: Full, form: Raw) -> tuple[int, list[Fault]]:
    """The most buffers that a run of a form took, and what is wrong with its runs."""
    async with full.engine.connect() as connection:
        proof = await proven(connection, full, form)
    return proof.buffers["raw"], [fault for fault in proof.faults if fault.how == "run"]


async def test_one_buffer_more_than_enough_is_a_fault(full: Full) -> None:
    sql = f"{OURS} {ORDER} LIMIT {PAGE}"
    taken, _ = await ran(full, Raw(sql))
    assert await ran(full, Limited(sql, enough=taken)) == (taken, [])
    _, (fault,) = await ran(full, Limited(sql, enough=taken - 1))
    assert fault.sentence == f"{taken} buffers for {PAGE} rows, {taken - 1} should do"


async def test_reading_a_page_more_than_is_answered_is_a_fault(full: Full) -> None:
    """The plan is as promised, and half of what it reads is thrown away."""
    taken, faults = await ran(full, Raw(f"{OURS} {ORDER} LIMIT {PAGE} OFFSET {PAGE}"))
    assert [fault.sentence for fault in faults] == [f"{taken} buffers for {PAGE} rows, {budget.page(PAGE, 1)} should do"]


def test_a_row_costs_a_page_and_little_more_and_a_value_a_descent() -> None:
    assert PAGE < budget.page(PAGE, 1) < 2 * PAGE
    assert budget.page(2 * PAGE, 1) - budget.page(PAGE, 1) < 1.3 * PAGE
    assert budget.page(100, 100) - budget.page(0, 0) < 100 * 8
    assert budget.page(0, 1) < 32


def test_a_page_costs_the_same_in_a_table_of_any_size_and_a_search_reads_a_little_of_its_index() -> None:
    grown = budget.search(SEARCH_MOST, PAGE, 10 * MILLION) - budget.search(SEARCH_MOST, PAGE, MILLION)
    assert 0 < grown < 9 * MILLION / 300
    assert SEARCH_MOST < budget.search(SEARCH_MOST, PAGE, 0) < SEARCH_MOST + 8 * PAGE


@pytest.mark.parametrize("table", SEARCHED)
async def test_no_search_has_a_budget_for_reading_its_table(table: str, full: Full) -> None:
    async with full.engine.connect() as connection:
        pages = await connection.scalar(PAGES, {"table": table})
    assert pages
    assert budget.search(SEARCH_MOST, PAGE, MILLION) < pages * MILLION / ROWS


def test_the_last_run_may_take_no_descent_more_than_the_first() -> None:
    assert 0 < budget.GROWTH < budget.DESCENT
