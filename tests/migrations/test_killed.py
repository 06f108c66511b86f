"""Migrations that are killed in the middle, and run again: nothing is lost, nothing left behind, the database at the newest."""

import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from service.settings import Settings
from tests.fixtures.processes import until
from tests.migrations.conftest import Sql
from tests.migrations.standalone import Standalone

MOMENTS = 20
# A millisecond for each row, and PostgreSQL goes through them twice.
SLOW = """
CREATE FUNCTION slow(year integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS
'BEGIN PERFORM pg_sleep(0.001); RETURN year; END'
"""
BOOKS = "CREATE TABLE books AS SELECT g AS id, g % 50 AS year FROM generate_series(1, 400) AS g"
STANDING = [
    "op.execute('CREATE INDEX ix_changed ON books (id)')",
    "op.execute('CREATE INDEX ix_old ON books (id, year)')",
    "op.execute('CREATE INDEX ix_misnamed ON books (year, id)')",
]
BUILD = "op.build_index('ix_new', 'books', 'btree (slow(year), title)')"
REPLACE = "op.build_index('ix_changed', 'books', 'btree (slow(id))')"
REMOVE = "op.remove_index('ix_old', 'books')"
RENAME = "op.rename_index('ix_misnamed', 'ix_named', 'books', 'btree (year, id)')"
FOUND = """
SELECT x.relname::text, i.indisvalid, substr(pg_get_indexdef(x.oid), strpos(pg_get_indexdef(x.oid), 'btree')) AS words
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = 'books'::regclass ORDER BY 1
"""
WANTED = [
    ("ix_changed", True, "btree (slow(id))"),
    ("ix_named", True, "btree (year, id)"),
    ("ix_new", True, "btree (slow(year), title)"),
]
COLUMNS = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'books'::regclass AND attnum > 0"
STAMPED = "SELECT version_num::text FROM alembic_version"
BROKEN = ("ix_new", False, "btree (slow(year), title)")
LEFTOVERS = "SELECT FROM pg_class WHERE relname ~ '^shelfmark_(building|dropping)_'"


@pytest.fixture
def library(standalone: Standalone, sql: Sql) -> Standalone:
    """Books in use, and a migration that gives them a column; the next one is the test's."""
    standalone.revise("first", f'op.execute("""{SLOW}""")', f'op.execute("{BOOKS}")', *STANDING)
    standalone.revise("second", "op.add_column('books', sa.Column('title', sa.Text()))")
    begin_anew(standalone, sql)
    return standalone


def begin_anew(library: Standalone, sql: Sql) -> None:
    """A database of which only the first migration is in."""
    sql("DROP SCHEMA public CASCADE;; CREATE SCHEMA public")
    library.upgrade(Settings(), "first")


def killed_when(library: Standalone, moment: Callable[[], bool]) -> None:
    """Start the migrations, and kill them when the moment has come."""
    with library.beginning("upgrade", "head") as begun:
        until(moment, begun.said)
        begun.end(signal.SIGKILL)


def run_again(library: Standalone, sql: Sql) -> list[Any]:
    """The indexes that stand after another run, when all else is as if nothing had happened."""
    library.upgrade(Settings())
    assert sql(COLUMNS) == [("id",), ("year",), ("title",)]
    assert sql(STAMPED) == [("third",)]
    return sql(FOUND)


def test_in_the_middle_of_a_build(library: Standalone, sql: Sql) -> None:
    library.revise("third", BUILD)
    killed_when(library, lambda: BROKEN in sql(FOUND))
    assert BROKEN in sql(FOUND)
    assert sql(STAMPED) == [("second",)]
    assert [row for row in run_again(library, sql) if row[0] == "ix_new"] == [WANTED[-1]]


def test_in_the_middle_of_a_replacement(library: Standalone, sql: Sql) -> None:
    library.revise("third", REPLACE)
    killed_when(library, lambda: len(sql(LEFTOVERS)) == 1)
    assert len(sql(LEFTOVERS)) == 1
    assert ("ix_changed", True, "btree (id)") in sql(FOUND)
    assert WANTED[0] in run_again(library, sql)
    assert sql(LEFTOVERS) == []


@pytest.mark.slow
def test_at_any_moment(library: Standalone, sql: Sql) -> None:
    library.revise("third", BUILD, REPLACE, REMOVE, RENAME)
    began = time.monotonic()
    assert run_again(library, sql) == WANTED
    whole = time.monotonic() - began
    met = set()
    for moment in range(MOMENTS):
        begin_anew(library, sql)
        seconds = random.uniform(0.2, 1) * whole  # noqa: S311 - any moment will do
        with library.beginning("upgrade", "head") as begun:
            time.sleep(seconds)
            begun.end(signal.SIGKILL)
        left = f"{sql(STAMPED)} {sql(FOUND)}"
        met.add(left)
        assert run_again(library, sql) == WANTED, f"killed at moment {moment}, after {seconds:.2f} of {whole:.2f} s, leaving {left}"
    assert len(met) > 1, f"the moments were all alike: {met}"
