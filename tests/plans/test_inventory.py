"""The inventory: what stands, which index of a model each is, and what it is for."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service import schema
from service.contract.served import served
from service.db.catalogue import RECORD, keepers
from service.db.model import table_of
from service.db.surface import references
from service.plans.inventory import Entry, Inventory, taken

TABLES = [router.table.of for router in schema.routers()]
OF = TABLES[0]
TABLE = OF.contract.table
LIST = next(one for one in served(OF.contract) if one.kind == "list" and not one.path.startswith(("pk_", "uq_")))


def entry(found: Inventory, name: str) -> Entry:
    """An index by its name in the database."""
    return next(one for one in found.entries if one.name == name)


async def test_every_index_of_a_model_stands_and_is_known(apart: AsyncConnection) -> None:
    found = await taken(apart, TABLES)
    declared = {(of.contract.table, name) for of in TABLES for name in keepers(table_of(of.model))}
    assert {(one.table, one.path) for one in found.entries} == declared
    assert all(one.ours and not one.state and one.size and one.words for one in found.entries)
    assert (found.missing, found.absent) == ([], [])


async def test_what_each_is_for(apart: AsyncConnection) -> None:
    found = await taken(apart, TABLES)
    for of in TABLES:
        for one in [one for one in found.entries if one.table == of.contract.table]:
            assert one.questions == tuple(str(offer) for offer in served(of.contract) if offer.path == one.path)
            assert ("primary key" in one.needs) == one.name.startswith("pk_")
            assert ("unique rule" in one.needs) == (one.unique and not one.name.startswith("pk_"))
            leading = [name for name, paths in references(of.model).items() if one.path in paths]
            assert [need for need in one.needs if need.startswith("foreign key")] == [f"foreign key {name}" for name in leading]
            assert one.roles
    assert all(
        name not in {column for _, column in found.unled} for of in TABLES for name, led in references(of.model).items() if led
    )


async def test_one_that_is_called_otherwise_is_known_by_what_it_is(apart: AsyncConnection) -> None:
    await apart.exec_driver_sql(f'ALTER INDEX "{LIST.path}" RENAME TO "something else"')
    one = entry(await taken(apart, TABLES), "something else")
    assert (one.path, one.ours) == (LIST.path, True)
    assert str(LIST) in one.questions


async def test_where_nothing_is_recorded_the_name_tells(apart: AsyncConnection) -> None:
    await apart.exec_driver_sql(f"DROP TABLE {RECORD}")
    assert entry(await taken(apart, TABLES), LIST.path).path == LIST.path


async def test_another_under_its_name_is_not_it(apart: AsyncConnection) -> None:
    await apart.exec_driver_sql(f'DROP INDEX "{LIST.path}"')
    await apart.exec_driver_sql(f'CREATE INDEX "{LIST.path}" ON "{TABLE}" (created_at)')
    found = await taken(apart, TABLES)
    assert entry(found, LIST.path).path is None
    assert found.missing == [(TABLE, LIST.path)]


async def test_one_made_outside(apart: AsyncConnection) -> None:
    await apart.exec_driver_sql(f'CREATE INDEX elsewhere ON "{TABLE}" (created_at) INCLUDE (version) WHERE version > 1')
    one = entry(await taken(apart, TABLES), "elsewhere")
    assert (one.path, one.ours, one.needs, one.questions, one.roles) == (None, False, (), (), ("made outside",))
    assert ([key.text for key in one.keys], one.include, one.predicate) == (["created_at"], ("version",), "version > 1")


async def test_a_rule_made_outside_is_one(apart: AsyncConnection) -> None:
    await apart.exec_driver_sql(f'CREATE UNIQUE INDEX elsewhere ON "{TABLE}" (created_at)')
    assert entry(await taken(apart, TABLES), "elsewhere").needs == ("unique rule",)


async def test_one_of_an_older_model(apart: AsyncConnection) -> None:
    await apart.exec_driver_sql(f'CREATE INDEX "ix_older" ON "{TABLE}" (created_at)')
    await apart.exec_driver_sql(
        f"INSERT INTO {RECORD} (fingerprint, index_name, table_schema, table_name, is_unique, words, model) "
        f"VALUES ('older', 'ix_older', current_schema(), '{TABLE}', false, 'btree (created_at)', '')"
    )
    one = entry(await taken(apart, TABLES), "ix_older")
    assert one.roles == ("no model has it any more: a migration will drop it",)


@pytest.mark.parametrize(
    ("name", "state"), [("shelfmark_dropping_1", "being dropped"), ("shelfmark_building_1", "being built"), ("ix_1", "INVALID")]
)
async def test_what_is_wrong_with_one(apart: AsyncConnection, name: str, state: str) -> None:
    await apart.exec_driver_sql(f'CREATE INDEX "{name}" ON "{TABLE}" (created_at)')
    await apart.exec_driver_sql(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass")
    assert entry(await taken(apart, TABLES), name).state == state


async def test_a_table_that_is_not_there(apart: AsyncConnection) -> None:
    await apart.exec_driver_sql(f'DROP TABLE "{TABLE}" CASCADE')
    found = await taken(apart, TABLES)
    assert found.absent == [TABLE]
    assert TABLE not in {one.table for one in found.entries} | {table for table, _ in found.missing}


async def test_scans_are_counted_with_the_evidence(apart: AsyncConnection) -> None:
    primary = OF.primary
    for means in ("seqscan", "bitmapscan", "sort"):
        await apart.exec_driver_sql(f"SET enable_{means} = off")
    await apart.exec_driver_sql("SELECT pg_stat_reset()")
    await apart.execute(text(f'SELECT FROM "{TABLE}" WHERE "{primary}" IS NOT NULL ORDER BY "{primary}"'))
    await apart.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    found = await taken(apart, TABLES)
    key = entry(found, f"pk_{TABLE}")
    assert key.scans == 1
    assert found.evidence.counted
    assert found.evidence.since is not None
    assert (key.last_used is not None) == (found.evidence.version >= 16)
    assert entry(found, LIST.path).scans == 0
