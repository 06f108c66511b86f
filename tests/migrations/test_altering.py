"""What ALTER TABLE locks; the claims are held against a real PostgreSQL, which rewrites a table or doesn't, and says which lock."""

import pytest

from service.migrations.altering import READS_ALL, REFERRED, WRITES_ALL, altering
from service.migrations.blocking import Blocks, Effect
from tests.migrations.conftest import Sql

TABLES = """
CREATE TABLE authors (id bigint PRIMARY KEY);;
CREATE TABLE books (id bigint PRIMARY KEY, year integer, author_id bigint, CONSTRAINT ck CHECK (year > 0) NOT VALID,
    CONSTRAINT fk FOREIGN KEY (author_id) REFERENCES authors);;
CREATE UNIQUE INDEX uq ON books (year);;
INSERT INTO books SELECT g, g FROM generate_series(1, 10) g
"""
LOCKS = """
SELECT mode FROM pg_locks WHERE relation = 'books'::regclass AND pid = pg_backend_pid() AND mode <> 'AccessShareLock'
AND mode <> 'RowExclusiveLock'
"""
EVERYTHING, WRITES, NEITHER = "AccessExclusiveLock", "ShareRowExclusiveLock", "ShareUpdateExclusiveLock"
CASES = [
    ("ADD COLUMN a integer", Effect(Blocks.EVERYTHING, ("books",))),
    ("ADD a integer DEFAULT 3 NOT NULL", Effect(Blocks.EVERYTHING, ("books",))),
    ("ADD COLUMN a timestamptz DEFAULT now()", Effect(Blocks.EVERYTHING, ("books",))),
    ("ADD COLUMN a varchar(9) DEFAULT 'f(x)'", Effect(Blocks.EVERYTHING, ("books",))),
    ("ADD COLUMN a timestamptz DEFAULT clock_timestamp()", Effect(Blocks.EVERYTHING, ("books",), WRITES_ALL)),
    ("ADD COLUMN a uuid DEFAULT gen_random_uuid()", Effect(Blocks.EVERYTHING, ("books",), WRITES_ALL)),
    ("ADD COLUMN a integer GENERATED ALWAYS AS (year + 1) STORED", Effect(Blocks.EVERYTHING, ("books",), WRITES_ALL)),
    ("ADD COLUMN a bigserial", Effect(Blocks.EVERYTHING, ("books",), WRITES_ALL)),
    ("ADD COLUMN a integer CHECK (a > 1)", Effect(Blocks.EVERYTHING, ("books",), READS_ALL)),
    ("ADD COLUMN a integer UNIQUE", Effect(Blocks.EVERYTHING, ("books",), "builds its index")),
    ("ADD COLUMN a bigint REFERENCES authors", Effect(Blocks.EVERYTHING, ("books",), note="blocks writes of authors meanwhile")),
    ("ADD CONSTRAINT c CHECK (year > 0)", Effect(Blocks.EVERYTHING, ("books",), READS_ALL)),
    ("ADD CONSTRAINT c CHECK (year > 1) NOT VALID", Effect(Blocks.EVERYTHING, ("books",))),
    ("ADD CONSTRAINT c UNIQUE (author_id)", Effect(Blocks.EVERYTHING, ("books",), "builds its index")),
    ("ADD CONSTRAINT c UNIQUE USING INDEX uq", Effect(Blocks.EVERYTHING, ("books",))),
    ("ADD CONSTRAINT c FOREIGN KEY (author_id) REFERENCES authors (id)", Effect(Blocks.WRITES, ("books", "authors"), READS_ALL)),
    ("ADD FOREIGN KEY (author_id) REFERENCES authors (id) NOT VALID", Effect(Blocks.WRITES, ("books", "authors"))),
    ("VALIDATE CONSTRAINT ck", Effect(Blocks.NOBODY, ("books",))),
    ("DROP CONSTRAINT fk", Effect(Blocks.EVERYTHING, ("books", REFERRED))),
    ("DROP COLUMN year", Effect(Blocks.EVERYTHING, ("books",), note="its values are lost")),
    (
        "ALTER COLUMN year TYPE bigint",
        Effect(Blocks.EVERYTHING, ("books",), WRITES_ALL, "unless the new type holds the old values"),
    ),
    ("ALTER year SET NOT NULL", Effect(Blocks.EVERYTHING, ("books",), READS_ALL, "unless a valid CHECK says so already")),
    ("ALTER COLUMN year SET DEFAULT 3", Effect(Blocks.EVERYTHING, ("books",))),
    ("ALTER COLUMN year SET STATISTICS 100", Effect(Blocks.NOBODY, ("books",))),
    ("SET (fillfactor = 70)", Effect(Blocks.NOBODY, ("books",))),
    ("RENAME year TO published", Effect(Blocks.EVERYTHING, ("books",))),
]


@pytest.mark.parametrize(("action", "effect"), CASES, ids=lambda case: str(case)[:40])
def test_the_lock_is_the_one_that_postgresql_takes(action: str, effect: Effect, sql: Sql) -> None:
    assert altering("books", action, set()) == effect
    before = sql(f"{TABLES};; SELECT pg_relation_filenode('books') AS file")[0]["file"]
    locks = sql(f"BEGIN;; ALTER TABLE books {action};; {LOCKS}")
    worst = {Blocks.EVERYTHING: EVERYTHING, Blocks.WRITES: WRITES, Blocks.NOBODY: NEITHER}[effect.blocks]
    assert worst in {row["mode"] for row in locks}
    assert effect.blocks is Blocks.EVERYTHING or EVERYTHING not in {row["mode"] for row in locks}
    after = sql(f"ALTER TABLE books {action};; SELECT pg_relation_filenode('books') AS file")[0]["file"]
    assert (before != after) == (effect.during == WRITES_ALL)


def test_several_actions_are_as_bad_as_the_worst() -> None:
    effect = altering("books", "ADD COLUMN a integer, ADD CHECK (a IN (1, 2)), DROP COLUMN b", set())
    assert effect == Effect(Blocks.EVERYTHING, ("books",), READS_ALL, "its values are lost")


def test_a_table_that_the_migration_made_holds_nobody_up() -> None:
    effect = altering("books", "ADD FOREIGN KEY (author_id) REFERENCES authors", {"authors"})
    assert effect.tables == ("books",)
