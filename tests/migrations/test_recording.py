"""Migrations record what each index of the models is in PostgreSQL's words, so that the service can tell whether it stands."""

import asyncio
import io
import time
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import CHAR, BigInteger, Column, Index, MetaData, Text, func, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from service import migrations, schema
from service.db.catalogue import RECORD, fingerprint, keepers
from service.migrations.recording import record, recorded
from tests.migrations.conftest import Sql
from tests.migrations.projects import CHECKOUT, Project, metadata, one_by_one, table

OF_MODELS = "length(fingerprint) = 64"  # the others say what a migration has made
RECORDED = f"SELECT index_name, fingerprint, words, is_unique FROM {RECORD} WHERE {OF_MODELS} ORDER BY 1"


def shelves(*indexes: Any, schema: str | None = None, **options: Any) -> MetaData:
    """A table with these indexes."""
    tables = metadata()
    made = table(tables, "shelves", Column("name", Text(collation="C")), Column("room", BigInteger), schema=schema, **options)
    for name, *keys in indexes:
        Index(name, *(made.c[key] if isinstance(key, str) else key(made.c) for key in keys))
    return tables


def words(sql: Sql) -> dict[str, str]:
    """Name -> what is recorded of an index."""
    return {row["index_name"]: row["words"] for row in sql(RECORDED)}


async def within(url: str, *work: Any) -> list[Any]:
    """Run functions that take a connection, each in a transaction of its own making."""
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        done = [await connection.run_sync(one) for one in work]
        await connection.rollback()
    await engine.dispose()
    return done


def test_an_upgrade_records_what_the_models_declare(project: Project, sql: Sql) -> None:
    project.build(shelves(("ix_shelves_name", lambda c: func.lower(c.name), "id"), ("ix_shelves_room", lambda c: c.room.desc())))
    assert words(sql) == {
        "ix_shelves_name": "btree (lower(name), id)",
        "ix_shelves_room": "btree (room DESC)",
        "pk_shelves": "btree (id)",
    }
    assert [row["is_unique"] for row in sql(RECORDED)] == [False, False, True]


def test_each_row_is_found_by_the_models_own_fingerprint(empty_database: str, sql: Sql) -> None:
    migrations.upgrade(empty_database)
    declared = {(name, fingerprint(keeper)) for table in schema.metadata().sorted_tables for name, keeper in keepers(table).items()}
    assert {(row["index_name"], row["fingerprint"]) for row in sql(RECORDED)} == declared


def test_rows_of_older_code_stay_and_tell_what_was_ours(project: Project, sql: Sql) -> None:
    old, new = shelves(("ix_shelves_old", "name")), shelves(("ix_shelves_new", "name"), ("ix_shelves_room", "room"))
    project.build(old)
    project.upgrade(new)
    assert words(sql).keys() == {"ix_shelves_old", "ix_shelves_new", "ix_shelves_room", "pk_shelves"}
    sql("CREATE INDEX by_hand ON shelves (id)")
    (ours,) = asyncio.run(within(project.url, recorded))
    assert ours == {(None, name) for name in words(sql)}
    project.downgrade(new, "base")
    assert words(sql).keys() == {"ix_shelves_old", "ix_shelves_new", "ix_shelves_room", "pk_shelves"}


def test_a_second_run_writes_nothing(empty_database: str, sql: Sql) -> None:
    migrations.upgrade(empty_database)
    before = sql(f"SELECT xmin::text, * FROM {RECORD} ORDER BY fingerprint, index_name")
    migrations.upgrade(empty_database)
    assert sql(f"SELECT xmin::text, * FROM {RECORD} ORDER BY fingerprint, index_name") == before


def test_a_second_run_costs_little(empty_database: str) -> None:
    migrations.upgrade(empty_database)
    took: list[float] = []

    def timed(connection: Any) -> None:
        began = time.perf_counter()
        record(connection, schema.metadata())
        took.append(time.perf_counter() - began)
        connection.rollback()

    asyncio.run(within(empty_database, *[timed] * 5))
    assert min(took) < 0.1  # it is 8 ms; machines may be slow


@pytest.mark.parametrize(
    "spoilt",
    [
        f"UPDATE {RECORD} SET words = 'spoilt', model = 'spoilt'",
        f"UPDATE {RECORD} SET words = 'spoilt', server = server - 1",
        f"DELETE FROM {RECORD}",
        f"DROP TABLE {RECORD}",
    ],
)
def test_what_is_not_so_any_more_is_written_anew(project: Project, sql: Sql, spoilt: str) -> None:
    """Another state of the model, another version of PostgreSQL, or somebody's hand."""
    tables = shelves(("ix_shelves_name", "name"))
    project.build(tables)
    before = words(sql)
    sql(f"{spoilt};; SELECT 1")
    project.upgrade(tables)
    assert words(sql) == before


def test_words_follow_the_type_of_a_column(project: Project, sql: Sql) -> None:
    """The index is declared as before, and PostgreSQL writes it otherwise."""
    tables = metadata()
    made = table(tables, "shelves", Column("name", Text(collation="C")))
    Index("ix_shelves_name", func.lower(made.c.name))
    project.build(tables)
    other = metadata()
    made = table(other, "shelves", Column("name", CHAR(5)))
    Index("ix_shelves_name", func.lower(made.c.name))
    project.build(other)
    assert words(sql)["ix_shelves_name"] == "btree (lower((name)::text))"
    assert project.differences(other) == []


def test_another_schema_is_recorded_as_such(project: Project, sql: Sql) -> None:
    sql("CREATE SCHEMA archive;; SELECT 1")
    project.build(shelves(("ix_shelves_name", "name"), schema="archive"))
    assert {row["table_schema"] for row in sql(f"SELECT * FROM {RECORD}")} == {"archive"}
    (ours,) = asyncio.run(within(project.url, recorded))
    assert ("archive", "ix_shelves_name") in ours


def test_a_table_that_is_not_there_yet_is_not_recorded(project: Project, sql: Sql) -> None:
    tables = shelves(("ix_shelves_name", "name"))
    project.build(tables)
    table(tables, "rooms", Column("name", Text))
    project.upgrade(tables)
    assert "pk_rooms" not in words(sql)


def test_what_postgresql_cannot_build_yet_stops_no_migration(project: Project, sql: Sql, caplog: pytest.LogCaptureFixture) -> None:
    tables = shelves(("ix_shelves_name", "name"))
    project.build(tables)
    other = shelves(("ix_shelves_name", "name"), ("ix_shelves_odd", lambda c: func.not_there(c.name)))
    project.upgrade(other)
    assert words(sql).keys() == {"ix_shelves_name", "pk_shelves"}
    assert "the indexes of shelves can't be recorded yet" in caplog.text
    assert "not_there" in caplog.text


def test_commands_that_only_look_record_nothing(project: Project, sql: Sql) -> None:
    project.build(shelves())
    assert project.differences(shelves(("ix_shelves_name", "name"))) != []
    project.revise(shelves(("ix_shelves_name", "name")))
    assert words(sql).keys() == {"pk_shelves"}


def test_alembic_does_not_see_the_record(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.build(shelves())
    caplog.clear()
    with caplog.at_level("INFO"):
        assert project.differences(shelves()) == []
    assert RECORD not in caplog.text


def test_a_database_without_tables_gets_no_record(project: Project, sql: Sql) -> None:
    project.build(metadata())
    assert sql(f"SELECT to_regclass('{RECORD}') AS it")[0]["it"] is None
    assert asyncio.run(within(project.url, recorded)) == [frozenset()]


def test_it_rides_the_transaction_of_a_connection_that_was_handed_over(empty_database: str, sql: Sql) -> None:
    def upgraded(connection: Any) -> int:
        connection.begin()
        config = Config(CHECKOUT / "alembic.ini", stdout=io.StringIO(), attributes={"connection": connection})
        command.upgrade(config, "head")
        count: int = connection.scalar(text(f"SELECT count(*) FROM {RECORD} WHERE {OF_MODELS}"))
        connection.rollback()
        return count

    (seen,) = asyncio.run(within(empty_database, upgraded))
    assert seen == sum(len(keepers(table)) for table in schema.metadata().sorted_tables)
    assert sql(f"SELECT to_regclass('{RECORD}') AS it")[0]["it"] is None


def test_whoever_serves_may_read_it_and_not_write_it(project: Project, sql: Sql) -> None:
    """Even where default privileges give the serving role all rights on each new table."""
    role = str(make_url(project.url).database).replace("shelfmark", "role")
    sql(f"CREATE ROLE {role};; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {role};; SELECT 1")
    try:
        project.build(shelves())
        assert len(sql(f"SET ROLE {role};; SELECT * FROM {RECORD}")) == 1
        for kind in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            assert not sql(f"SELECT has_table_privilege('{role}', '{RECORD}', '{kind}') AS it")[0]["it"], kind
        assert sql(f"SELECT has_table_privilege('{role}', 'shelves', 'INSERT') AS it")[0]["it"]
    finally:
        sql(f"DROP OWNED BY {role};; DROP ROLE {role};; SELECT 1")


def test_a_script_records_what_it_has_built(tmp_path: Path, empty_database: str, sql: Sql) -> None:
    buffer = io.StringIO()
    command.upgrade(Config(CHECKOUT / "alembic.ini", output_buffer=buffer), "head", sql=True)
    written = buffer.getvalue()
    sql(f"{one_by_one(written)};; SELECT 1")
    by_script = words(sql)
    assert by_script.keys() == {name for table in schema.metadata().sorted_tables for name in keepers(table)}
    migrations.upgrade(empty_database)
    assert words(sql) == by_script
    sql(f"UPDATE {RECORD} SET words = words || ' '")
    sql(f"{one_by_one(written[written.index('CREATE TABLE IF NOT EXISTS ' + RECORD) :])};; SELECT 1")
    assert words(sql) != by_script, "a script takes back nothing that a migrator has recorded"


def test_a_script_that_ends_before_the_newest_revision_records_nothing() -> None:
    config = Config(CHECKOUT / "alembic.ini")
    *_, first = ScriptDirectory.from_config(config).walk_revisions()
    if first.revision == migrations.head():
        pytest.skip("there is only one revision")
    for run, revisions in ((command.upgrade, f"base:{first.revision}"), (command.downgrade, f"{migrations.head()}:base")):
        config.output_buffer = written = io.StringIO()
        run(config, revisions, sql=True)
        assert RECORD not in written.getvalue()
