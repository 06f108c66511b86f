"""Doubles: what does the same, what only seems to, and which of two is the one too many."""

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service import schema
from service.contract.served import served
from service.db import surface
from service.plans.inventory import taken
from service.plans.redundant import Pair, pairs

TABLES = [router.table.of for router in schema.routers()]
OF = TABLES[0]
TABLE = OF.contract.table
CONTRACTS = {of.contract.table: surface(of.model).contract for of in TABLES}


async def doubles(apart: AsyncConnection, *statements: str) -> list[Pair]:
    """The pairs that statements add, each `CREATE ... ON t (...)`."""
    before = {(pair.entry.name, pair.by.name) for pair in pairs((await taken(apart, TABLES)).entries, CONTRACTS)}
    for statement in statements:
        await apart.exec_driver_sql(statement.replace(" ON t ", f' ON "{TABLE}" '))
    found = pairs((await taken(apart, TABLES)).entries, CONTRACTS)
    return [pair for pair in found if (pair.entry.name, pair.by.name) not in before]


async def test_nothing_that_is_shipped_is_too_much(apart: AsyncConnection) -> None:
    found = pairs((await taken(apart, TABLES)).entries, CONTRACTS)
    assert [pair.entry.name for pair in found if not pair.kept] == []


async def test_a_twin_made_outside_is_the_one_too_many(apart: AsyncConnection) -> None:
    path = next(one.path for one in served(OF.contract) if one.kind == "list" and one.path.startswith("ix_"))
    words = next(one.words for one in (await taken(apart, TABLES)).entries if one.name == path)
    found = await doubles(apart, f"CREATE INDEX aaa_twin ON t USING {words}")
    (pair,) = [pair for pair in found if {pair.entry.name, pair.by.name} == {"aaa_twin", path}]
    assert (pair.entry.name, pair.by.name, pair.same, pair.kept) == ("aaa_twin", path, True, ())


async def test_the_beginning_of_a_longer_one(apart: AsyncConnection) -> None:
    (pair,) = await doubles(apart, "CREATE INDEX a ON t (created_at)", "CREATE INDEX b ON t (created_at, version)")
    assert (pair.entry.name, pair.by.name, pair.same, pair.kept) == ("a", "b", False, ())


async def test_a_longer_one_that_goes_backward_does_as_well(apart: AsyncConnection) -> None:
    (pair,) = await doubles(apart, "CREATE INDEX a ON t (created_at)", "CREATE INDEX b ON t (created_at DESC, version)")
    assert pair.kept == ()


KEPT = {
    "a rule": ("CREATE UNIQUE INDEX a ON t (created_at)", "CREATE INDEX b ON t (created_at, version)", "it is unique: a rule"),
    "other rows": (
        "CREATE INDEX a ON t (created_at) WHERE version > 1",
        "CREATE INDEX b ON t (created_at, version)",
        "it holds only rows with version > 1, the other all rows",
    ),
    "what it carries": (
        "CREATE INDEX a ON t (created_at) INCLUDE (updated_at)",
        "CREATE INDEX b ON t (created_at, version)",
        "it carries updated_at",
    ),
    "the place of NULLs": (
        "CREATE INDEX a ON t (created_at NULLS FIRST)",
        "CREATE INDEX b ON t (created_at, version)",
        "its keys go in other directions, or have their NULLs elsewhere",
    ),
    "mixed directions": (
        "CREATE INDEX a ON t (created_at, updated_at)",
        "CREATE INDEX b ON t (created_at, updated_at DESC, version)",
        "its keys go in other directions",
    ),
    "an operator class": (
        "CREATE INDEX a ON t ((version::text) text_pattern_ops)",
        "CREATE INDEX b ON t ((version::text), version)",
        "it has another operator class",
    ),
}


@pytest.mark.parametrize("case", KEPT)
async def test_what_keeps_one_all_the_same(apart: AsyncConnection, case: str) -> None:
    one, other, why = KEPT[case]
    pair = next(pair for pair in await doubles(apart, one, other) if pair.entry.name == "a")
    assert any(reason.startswith(why) for reason in pair.kept), pair.kept


async def test_what_it_carries_is_no_reason_where_the_other_has_it(apart: AsyncConnection) -> None:
    (pair,) = await doubles(
        apart, "CREATE INDEX a ON t (created_at) INCLUDE (version)", "CREATE INDEX b ON t (created_at, version)"
    )
    assert pair.kept == ()


async def test_other_methods_and_other_keys_are_no_doubles(apart: AsyncConnection) -> None:
    found = await doubles(
        apart,
        "CREATE INDEX a ON t USING brin (created_at)",
        "CREATE INDEX b ON t (created_at)",
        "CREATE INDEX c ON t (version, created_at)",
    )
    assert found == []


async def test_what_it_alone_serves_keeps_an_index(apart: AsyncConnection) -> None:
    """Its keys begin another's, but the lists that it gives end where it ends."""
    path = next(path for path in OF.contract.paths if path.name.startswith("ix_") and not path.predicate and not path.unique)
    words = next(one.words for one in (await taken(apart, TABLES)).entries if one.name == path.name)
    longer = words.partition(" INCLUDE")[0].removesuffix(")") + ", version)"
    found = await doubles(apart, f"CREATE INDEX longer ON t USING {longer}")
    (pair,) = [pair for pair in found if pair.entry.name == path.name]
    assert any(reason.startswith("it alone serves ") for reason in pair.kept)
