"""What autogenerate sees of row versions, and what it writes."""

import pytest
from sqlalchemy import BigInteger, Column, Identity, MetaData, Table, Text

from service.migrations.rowversion import CREATE_FUNCTION
from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table

FUNCTION = "CREATE OR REPLACE FUNCTION shelfmark_row_version() RETURNS trigger LANGUAGE plpgsql"
DAMAGES = {
    "DROP TRIGGER shelfmark_row_version ON shelves": "Table shelves lacks the trigger that keeps its row version.",
    "ALTER TABLE shelves DISABLE TRIGGER ALL": "The trigger that keeps the row version of shelves is disabled or different.",
    "ALTER TABLE shelves ENABLE REPLICA TRIGGER shelfmark_row_version": (
        "The trigger that keeps the row version of shelves is disabled or different."
    ),
    "CREATE OR REPLACE TRIGGER shelfmark_row_version BEFORE UPDATE ON shelves FOR EACH ROW WHEN (old.name <> new.name) "
    "EXECUTE FUNCTION shelfmark_row_version()": "The trigger that keeps the row version of shelves is disabled or different.",
    "CREATE OR REPLACE TRIGGER shelfmark_row_version BEFORE UPDATE OF name ON shelves FOR EACH ROW "
    "WHEN (OLD.* *<> NEW.*) EXECUTE FUNCTION shelfmark_row_version()": (
        "The trigger that keeps the row version of shelves is disabled or different."
    ),
    f"{FUNCTION} AS 'BEGIN RETURN NEW; END'": "The function shelfmark_row_version is not the one that the triggers need.",
    "ALTER FUNCTION shelfmark_row_version() SECURITY DEFINER": (
        "The function shelfmark_row_version is not the one that the triggers need."
    ),
}

REPAIR = (
    f"DROP FUNCTION shelfmark_row_version() CASCADE;; {CREATE_FUNCTION};; CREATE TRIGGER shelfmark_row_version BEFORE UPDATE "
    "ON shelves FOR EACH ROW WHEN (OLD.* *<> NEW.*) EXECUTE FUNCTION shelfmark_row_version()"
)


@pytest.fixture
def tables(project: Project) -> MetaData:
    """One table with a row version, migrated."""
    tables = metadata()
    table(tables, "shelves", Column("name", Text))
    project.build(tables)
    return tables


def test_damage_is_seen(project: Project, tables: MetaData, sql: Sql) -> None:
    for damage, said in DAMAGES.items():
        sql(damage)
        assert project.differences(tables) == [said]
        sql(REPAIR)
        assert project.differences(tables) == []


@pytest.mark.parametrize("damage", ["trigger is missing", "all is different"])
def test_autogenerate_mends(project: Project, tables: MetaData, sql: Sql, damage: str) -> None:
    sql("DROP TRIGGER shelfmark_row_version ON shelves" if damage == "trigger is missing" else ";;".join(list(DAMAGES)[3:6:2]))
    project.build(tables)
    assert project.differences(tables) == []
    sql("INSERT INTO shelves (name) VALUES ('a');; UPDATE shelves SET name = 'b'")
    assert sql("SELECT version FROM shelves")[0]["version"] == 2
    project.downgrade(tables, "-1")
    project.downgrade(tables, "base")


def test_a_trigger_that_is_always_in_force_is_right(project: Project, tables: MetaData, sql: Sql) -> None:
    sql("ALTER TABLE shelves ENABLE ALWAYS TRIGGER shelfmark_row_version")
    assert project.differences(tables) == []


def test_a_removed_table_comes_back_with_its_trigger(project: Project, tables: MetaData, sql: Sql) -> None:
    project.build(metadata())
    assert sql("SELECT to_regclass('shelves') AS it")[0]["it"] is None
    assert sql("SELECT 1 FROM pg_proc WHERE proname = 'shelfmark_row_version'") == []
    project.downgrade(tables, "-1")
    sql("INSERT INTO shelves (name) VALUES ('a');; UPDATE shelves SET name = 'b'")
    assert sql("SELECT version FROM shelves")[0]["version"] == 2


def test_a_table_that_stops_being_versioned_loses_its_trigger(project: Project, tables: MetaData, sql: Sql) -> None:
    plain = metadata()
    Table("shelves", plain, Column("id", BigInteger, Identity(), primary_key=True), Column("name", Text))
    project.build(plain)
    assert project.differences(plain) == []
    assert sql("SELECT 1 FROM pg_trigger WHERE tgname = 'shelfmark_row_version'") == []
    project.downgrade(plain, "-1")
    sql("INSERT INTO shelves (name) VALUES ('a');; UPDATE shelves SET name = 'b'")
    assert sql("SELECT version FROM shelves")[0]["version"] == 2


def test_a_plain_table_becomes_versioned(project: Project, sql: Sql) -> None:
    plain = metadata()
    Table("shelves", plain, Column("id", BigInteger, Identity(), primary_key=True), Column("name", Text))
    project.build(plain)
    assert sql("SELECT 1 FROM pg_proc WHERE proname = 'shelfmark_row_version'") == []
    versioned = metadata()
    table(versioned, "shelves", Column("name", Text))
    written = project.revise(versioned).read_text()
    assert written.index("create_row_version_function()") < written.index("add_column") < written.index("create_row_version(")
