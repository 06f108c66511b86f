"""What one statement does, and whom it holds up."""

import pytest

from service.migrations.effects import Known, step

LONG = "COMMENT ON TABLE books IS '" + "x" * 200 + "'"


def told(statement: str, known: Known | None = None) -> str:
    """A statement's effect in words."""
    found = step(statement, known or Known({"ix": "books", "uq": "authors"}))
    assert found
    return str(found.effect)


@pytest.mark.parametrize(
    ("statement", "effect"),
    [
        ("CREATE TABLE books (id bigint)", "new table: nobody waits"),
        ("create table if not exists books (a bigint, foreign key (a) references authors (id))", "blocks writes of authors for a"),
        ("CREATE INDEX a ON books (b)", "blocks writes of books while it builds"),
        (
            'CREATE UNIQUE INDEX IF NOT EXISTS "a b" ON ONLY public.books USING gin (b)',
            "blocks writes of public.books while it builds",
        ),
        ("CREATE INDEX CONCURRENTLY a ON books (b)", "blocks neither reads nor writes of books; waits for older transactions"),
        ("CREATE INDEX ON books (b)", "blocks writes of books while it builds"),
        ("DROP INDEX ix", "blocks everything on books for a moment"),
        ("DROP INDEX IF EXISTS public.ix, uq CASCADE", "blocks everything on books and authors for a moment"),
        ("DROP INDEX other", "blocks everything on the table of other for a moment"),
        ("DROP INDEX CONCURRENTLY ix", "blocks neither reads nor writes of books; waits for older transactions"),
        ("ALTER INDEX ix RENAME TO iy", "blocks neither reads nor writes of books"),
        ("ALTER INDEX IF EXISTS ix SET (fillfactor = 70)", "blocks neither reads nor writes of books"),
        ("ALTER TABLE ONLY books ADD COLUMN a integer", "blocks everything on books for a moment"),
        ("ALTER TABLE IF EXISTS books ALTER a SET NOT NULL", "blocks everything on books while it reads every row; unless"),
        (
            "DROP TABLE IF EXISTS books CASCADE",
            "blocks everything on books and any table that it refers to for a moment; its rows are lost",
        ),
        ("CREATE OR REPLACE TRIGGER a BEFORE UPDATE ON books FOR EACH ROW", "blocks writes of books for a moment"),
        ("DROP TRIGGER IF EXISTS a ON books", "blocks everything on books for a moment"),
        ("TRUNCATE TABLE books", "blocks everything on books for a moment"),
        ("REINDEX TABLE books", "blocks everything on books while it writes it anew"),
        ("ANALYZE books", "blocks neither reads nor writes of books"),
        ("UPDATE books SET a = 1", "locks the rows of books that it changes until the migration is committed"),
        ("INSERT INTO books SELECT 1", "locks the rows of books"),
        ("CREATE EXTENSION IF NOT EXISTS pg_trgm", "blocks nobody"),
        ("CREATE OR REPLACE FUNCTION f() RETURNS trigger AS $$ x; $$", "blocks nobody"),
        ("GRANT SELECT ON books TO PUBLIC", "blocks nobody"),
        ("REINDEX TABLE CONCURRENTLY books", "isn't known"),
        ("DO $$ BEGIN END $$", "isn't known"),
        ("SELECT f()", "isn't known"),
        ("LOCK TABLE books", "isn't known"),
    ],
)
def test_effects(statement: str, effect: str) -> None:
    assert effect in told(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN",
        "COMMIT",
        "SET lock_timeout = 0",
        "RESET lock_timeout",
        "SELECT pg_sleep(2)",
        "CREATE TABLE alembic_version (version_num varchar(32))",
        "INSERT INTO alembic_version (version_num) VALUES ('a')",
        "UPDATE alembic_version SET version_num = 'b'",
        "DELETE FROM public.alembic_version",
    ],
)
def test_book_keeping_is_not_worth_a_word(statement: str) -> None:
    assert step(statement, Known({})) is None


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX a ON new (b)",
        "CREATE INDEX CONCURRENTLY a ON new (b)",
        "ALTER TABLE new ALTER a TYPE bigint",
        "CREATE TRIGGER a BEFORE UPDATE ON new FOR EACH ROW",
        "INSERT INTO new VALUES (1)",
    ],
)
def test_nobody_waits_for_a_table_that_the_migration_makes(statement: str) -> None:
    known = Known({})
    step("CREATE TABLE new (b bigint)", known)
    assert told(statement, known) == "new table: nobody waits"


def test_an_index_that_is_renamed_is_still_that_tables() -> None:
    known = Known({"ix": "books"})
    step("ALTER INDEX ix RENAME TO iy", known)
    assert told("DROP INDEX iy", known) == "blocks everything on books for a moment"


def test_a_long_statement_is_cut() -> None:
    found = step(LONG, Known({}))
    assert found
    assert len(found.words) < 110
    assert found.words.endswith("...")
