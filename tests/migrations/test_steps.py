"""The steps of a migration, as a person reads them before it runs."""

from service.migrations import op
from service.migrations.planning import written
from service.migrations.steps import steps


def told(sql: str | None, **tables: str) -> list[str]:
    """The steps as lines."""
    assert sql is not None
    return [f"{one.words}: {one.effect}" for one in steps(sql, tables)]


def test_a_new_table_is_one_step() -> None:
    sql = """
    CREATE TABLE books (id bigint);
    CREATE INDEX a ON books (id); CREATE UNIQUE INDEX b ON books (id);
    CREATE TRIGGER c BEFORE UPDATE ON books FOR EACH ROW EXECUTE FUNCTION f();
    ALTER TABLE books ADD CHECK (id > 0);
    CREATE TABLE authors (id bigint)
    """
    assert told(sql) == [
        "CREATE TABLE books, 1 change, 2 indexes, 1 trigger: new table: nobody waits",
        "CREATE TABLE authors: new table: nobody waits",
    ]


def test_a_table_that_goes_is_one_step() -> None:
    assert told("DROP TRIGGER c ON books; DROP INDEX a; DROP TABLE books", a="books") == [
        (
            "DROP TABLE books, 1 index, 1 trigger: blocks everything on books and any table that it refers to for a moment; "
            "its rows are lost"
        )
    ]


def test_other_tables_stay_beside_it() -> None:
    sql = "CREATE TABLE books (id bigint); CREATE INDEX a ON authors (name); CREATE INDEX b ON books (id)"
    assert told(sql) == [
        "CREATE TABLE books, 1 index: new table: nobody waits",
        "CREATE INDEX a ON authors: blocks writes of authors while it builds",
    ]


def concurrent() -> None:
    """What a migration of indexes does."""
    op.build_index("ix_new", "books", "btree (lower(title))")
    op.build_index("uq_new", "books", "btree (isbn13)", unique=True)
    op.remove_index("ix_old", "books")
    op.rename_index("ix_a", "ix_b", "books")
    op.rename_index("ix_c", "ix_d", "books", "btree (id)")


def test_operations_on_indexes_are_a_step_each_under_their_own_names() -> None:
    neither = "blocks neither reads nor writes of books"
    assert told(written(concurrent), ix_old="books", ix_a="books", ix_c="books") == [
        f"CREATE INDEX CONCURRENTLY ix_new ON books: {neither}; waits for older transactions",
        f"ANALYZE books: {neither}",
        f"CREATE UNIQUE INDEX CONCURRENTLY uq_new ON books: {neither}; waits for older transactions",
        f"DROP INDEX CONCURRENTLY ix_old: {neither}; waits for older transactions",
        f"ALTER INDEX ix_a RENAME TO ix_b: {neither}",
        f"ALTER INDEX ix_c RENAME TO ix_d: {neither}",
    ]
