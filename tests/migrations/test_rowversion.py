"""The row version as any client of the database meets it."""

from typing import Any

import pytest
from sqlalchemy import Column, Computed, Integer, Text

from service import migrations
from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table

ROW = "SELECT version, updated_at, created_at FROM authors"


@pytest.fixture
def author(empty_database: str, sql: Sql) -> Any:
    """The one author of a migrated database, as inserted."""
    migrations.upgrade(empty_database)
    sql("INSERT INTO authors (name) VALUES ('Ursula')")
    return sql(ROW)[0]


def test_a_new_row_has_version_one(author: Any) -> None:
    assert author["version"] == 1


def test_each_change_counts(author: Any, sql: Sql) -> None:
    sql("UPDATE authors SET name = 'U.';; UPDATE authors SET name = 'Ursula K.'")
    (changed,) = sql(ROW)
    assert changed["version"] == 3
    assert changed["updated_at"] > author["updated_at"]
    assert changed["created_at"] == author["created_at"]


def test_changes_in_one_transaction_count_each(author: Any, sql: Sql) -> None:
    sql("BEGIN;; UPDATE authors SET name = 'a';; UPDATE authors SET name = 'b';; COMMIT")
    assert sql(ROW)[0]["version"] == 3


@pytest.mark.parametrize("statement", ["name = name", "name = 'Ursula'", "version = 99", "updated_at = 'epoch', version = 7"])
def test_an_update_that_changes_nothing_does_not_count(author: Any, sql: Sql, statement: str) -> None:
    assert len(sql(f"UPDATE authors SET {statement} RETURNING id")) == 1
    assert sql(ROW) == [author]


def test_a_client_can_not_set_the_version(author: Any, sql: Sql) -> None:
    sql("UPDATE authors SET name = 'U.', version = 99, updated_at = 'epoch'")
    (changed,) = sql(ROW)
    assert changed["version"] == 2
    assert changed["updated_at"] > author["updated_at"]


def test_an_upsert_counts(author: Any, sql: Sql) -> None:
    sql("INSERT INTO authors (id, name) SELECT id, 'U.' FROM authors ON CONFLICT (id) DO UPDATE SET name = excluded.name")
    assert sql(ROW)[0]["version"] == 2


@pytest.mark.parametrize(("before", "after"), [("1.0", "1.00"), ("1", "true"), ("null", "[]")])
def test_what_reads_differently_is_a_change(author: Any, sql: Sql, before: str, after: str) -> None:
    sql(f"INSERT INTO books (author_id, title, attributes) SELECT id, 'T', '{before}' FROM authors")
    assert sql(f"UPDATE books SET attributes = '{after}' RETURNING version")[0]["version"] == 2


def test_other_operators_and_functions_on_the_path_are_not_used(author: Any, sql: Sql) -> None:
    sql(
        "CREATE SCHEMA evil;;"
        "CREATE FUNCTION evil.never(authors, authors) RETURNS boolean LANGUAGE sql AS 'SELECT false';;"
        "CREATE OPERATOR evil.*<> (LEFTARG = authors, RIGHTARG = authors, FUNCTION = evil.never);;"
        "CREATE FUNCTION evil.same(bigint, integer) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';;"
        "CREATE OPERATOR evil.+ (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = evil.same);;"
        "SET search_path = evil, public, pg_catalog;;"
        "UPDATE public.authors SET name = 'U.'"
    )
    assert sql(ROW)[0]["version"] == 2


def test_a_table_with_generated_columns(project: Project, sql: Sql) -> None:
    tables = metadata()
    table(tables, "shelves", Column("width", Integer), Column("it's twice", Integer, Computed("width * 2", persisted=True)))
    project.build(tables)
    assert project.differences(tables) == []
    sql("INSERT INTO shelves (width) VALUES (1)")
    sql("UPDATE shelves SET width = 1, version = 9")
    assert sql("SELECT version FROM shelves")[0]["version"] == 1
    sql("UPDATE shelves SET width = 2, version = 9")
    assert tuple(sql('SELECT version, "it\'s twice" FROM shelves')[0]) == (2, 4)


def test_a_table_in_a_schema_with_a_name_that_needs_quotes(project: Project, sql: Sql) -> None:
    tables = metadata()
    table(tables, "Old Shelves", Column("name", Text), schema="Attic")
    sql('CREATE SCHEMA "Attic"')
    project.build(tables)
    assert project.differences(tables) == []
    sql("""INSERT INTO "Attic"."Old Shelves" (name) VALUES ('a');; UPDATE "Attic"."Old Shelves" SET name = 'b'""")
    assert sql('SELECT version FROM "Attic"."Old Shelves"')[0]["version"] == 2
    project.downgrade(tables, "base")
    assert sql("""SELECT to_regclass('"Attic"."Old Shelves"') AS it""")[0]["it"] is None
