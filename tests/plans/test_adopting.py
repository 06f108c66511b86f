"""A suggestion that stands already is known again, whatever it is called, and nothing else is taken for it."""

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service import schema
from service.contract.path import Key, Path, Term
from service.db import surface
from service.plans.adopting import adopted
from service.plans.advisor import Ground, Suggestion
from service.plans.inventory import taken
from service.plans.trial import create

OF = schema.routers()[0].table.of
WHOLE = surface(OF.model)
TABLE = OF.contract.table
TEXT = next(name.removesuffix("__folded") for name in OF.expressions if name.endswith("__folded"))
ID = Key(OF.primary)
MADE = Key("created_at", descending=True)
SUGGESTED = {
    "plain": Path("ix_new", (Key("version"), Key("created_at"), ID)),
    "directions and NULLs": Path("ix_new", (MADE, Key(OF.primary, descending=True, nulls_first=True))),
    "folded": Path("ix_new", (Key(f"{TEXT}__folded", nulls_first=True), ID)),
    "unique": Path("uq_new", (Key("created_at"), Key("version")), unique=True),
    "limited to a text": Path("ix_new", (Key("created_at"), ID), predicate=(Term(TEXT, "on (loan)"),)),
    "limited to a number and NULL": Path("ix_new", (Key("created_at"), ID), predicate=(Term("version", 5), Term(TEXT))),
}


async def known(apart: AsyncConnection, path: Path) -> Suggestion:
    """What becomes of a suggestion."""
    entries = (await taken(apart, [OF])).entries
    return adopted(Suggestion(Ground.under(OF), path, None, (), ()), WHOLE, entries)


@pytest.mark.parametrize("case", SUGGESTED)
async def test_one_that_somebody_made_outside(apart: AsyncConnection, case: str) -> None:
    path = SUGGESTED[case]
    await apart.exec_driver_sql(create(WHOLE, path).replace(f"INDEX {path.name} ", "INDEX made_outside "))
    found = await known(apart, path)
    assert found.stands
    assert found.line.startswith('Index("made_outside", ')


@pytest.mark.parametrize("case", SUGGESTED)
async def test_nothing_else_is_taken_for_it(apart: AsyncConnection, case: str) -> None:
    for at, (name, path) in enumerate(SUGGESTED.items()):
        if name != case:
            await apart.exec_driver_sql(create(WHOLE, path).replace(f"INDEX {path.name} ", f"INDEX outside_{at} "))
    found = await known(apart, SUGGESTED[case])
    assert not found.stands
    assert found.index is SUGGESTED[case]


async def test_one_that_is_broken_is_none(apart: AsyncConnection) -> None:
    await apart.exec_driver_sql(create(WHOLE, SUGGESTED["plain"]).replace("INDEX ix_new ", "INDEX made_outside "))
    await apart.exec_driver_sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'made_outside'::regclass")
    assert not (await known(apart, SUGGESTED["plain"])).stands


async def test_one_that_carries_more_will_do(apart: AsyncConnection) -> None:
    """It serves the same, and more of it from the index alone."""
    await apart.exec_driver_sql(f'CREATE INDEX made_outside ON "{TABLE}" (version, created_at, "{OF.primary}") INCLUDE ("{TEXT}")')
    found = await known(apart, SUGGESTED["plain"])
    assert found.stands
    assert f'postgresql_include=["{TEXT}"]' in found.line
