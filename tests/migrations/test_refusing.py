"""What is refused, in a sentence and with all as it was."""

import pytest
from sqlalchemy import make_url

from service import settings
from service.errors import SetupError
from tests.migrations.books import BY_YEAR, INDEXES, Found, Upgrade
from tests.migrations.conftest import Sql
from tests.migrations.standalone import Standalone


@pytest.mark.parametrize("there", [(), ("a", "b")])
def test_a_renaming_that_may_mean_two_things_is_refused(
    upgrade: Upgrade, sql: Sql, standing: Found, there: tuple[str, ...]
) -> None:
    for name in there:
        sql(f"CREATE INDEX {name} ON books (year);; SELECT 1")
    before = standing()
    with pytest.raises(SetupError, match=rf"books has {'both' if there else 'neither'} a (and|nor) b"):
        upgrade("op.rename_index('a', 'b', 'books')")
    assert standing() == before


@pytest.mark.parametrize("stood", [True, False])
def test_rows_that_a_unique_index_forbids(upgrade: Upgrade, sql: Sql, standing: Found, stood: bool) -> None:
    if stood:
        upgrade(BY_YEAR)
    before = standing()
    sql("INSERT INTO books VALUES (99, 'a', 1);; SELECT 1")
    with pytest.raises(
        SetupError, match=r"books has rows that the unique index ix forbids: Key \(year\)=\(1\) is duplicated\. .* Mend"
    ):
        upgrade("op.build_index('ix', 'books', 'btree (year)', unique=True)")
    assert standing() == before
    sql("DELETE FROM books WHERE id = 99;; SELECT 1")
    upgrade()
    assert [row["only"] for row in sql(INDEXES)] == [True]


def test_a_row_that_does_not_fit(upgrade: Upgrade, sql: Sql, standing: Found) -> None:
    sql("INSERT INTO books VALUES (99, (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) n), 1);; SELECT 1")
    with pytest.raises(SetupError, match=r"can't build the index ix of books: index row .* It was not built; all stands as before"):
        upgrade("op.build_index('ix', 'books', 'btree (title)')")
    assert standing() == {}


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("op.build_index('ix', 'nowhere', 'btree (id)')", "There is no table nowhere for the index ix"),
        (
            "op.build_index('ix', 'books', 'gin (title gin_trgm_ops)')",
            'operator class "gin_trgm_ops" does not exist .*create_extension',
        ),
        (
            "op.build_index('ix', 'books', 'gin (title nowhere.gin_trgm_ops)')",
            'schema "nowhere" does not exist. Correct the name in front of the dot',
        ),
        ("op.build_index('ix', 'books', 'btree (nothing)')", 'column "nothing" does not exist'),
        ("op.build_index('ix', 'books', 'btree (year')", "syntax error"),
        ("op.remove_index('books_pkey', 'books')", "books_pkey is a constraint of books"),
    ],
)
def test_what_cannot_be_done_ends_in_a_sentence(upgrade: Upgrade, standing: Found, operation: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        upgrade(operation)
    assert standing() == {}


RESTING = {
    "the foreign key of_year of copies rests on it": "CREATE TABLE copies (year int CONSTRAINT of_year REFERENCES books (year))",
    "the replica identity of books rests on it": (
        "ALTER TABLE books ALTER year SET NOT NULL;; ALTER TABLE books REPLICA IDENTITY USING INDEX single"
    ),
}


@pytest.mark.parametrize("rests", RESTING)
@pytest.mark.parametrize("act", ["remove_index('single', 'books')", "build_index('single', 'books', 'btree (id, year)')"])
def test_an_index_that_something_rests_on_stays(upgrade: Upgrade, sql: Sql, standing: Found, rests: str, act: str) -> None:
    sql(f"CREATE UNIQUE INDEX single ON books (year);; {RESTING[rests]};; SELECT 1")
    with pytest.raises(SetupError, match=rests):
        upgrade(f"op.{act}")
    assert standing() == {"single": "btree (year)"}


def test_who_may_not_is_told(standalone: Standalone, sql: Sql, standing: Found) -> None:
    sql("CREATE ROLE shelfmark_reader LOGIN PASSWORD 'reader';; GRANT CREATE ON SCHEMA public TO shelfmark_reader;; SELECT 1")
    try:
        standalone.revise("r1", BY_YEAR)
        reader = make_url(standalone.url).set(username="shelfmark_reader", password="reader")
        standalone.url = reader.render_as_string(hide_password=False)
        with pytest.raises(SetupError, match=r"must be owner of table books|permission denied for table books"):
            standalone.upgrade(settings.load())
        assert standing() == {}
    finally:
        sql("DROP OWNED BY shelfmark_reader CASCADE;; DROP ROLE shelfmark_reader;; SELECT 1")


def test_a_mixed_revision_is_refused_and_nothing_of_it_done(upgrade: Upgrade, sql: Sql, standing: Found) -> None:
    upgrade("pass")
    with pytest.raises(
        SetupError, match=r"changes something else before op\.build_index\('ix', 'books', \.\.\.\).* a revision of their own"
    ):
        upgrade("op.add_column('books', sa.Column('room', sa.Integer()))", BY_YEAR)
    assert standing() == {}
    assert sql("SELECT attname FROM pg_attribute WHERE attrelid = 'books'::regclass AND attname = 'room'") == []
    assert [row["version_num"] for row in sql("SELECT version_num FROM alembic_version")] == ["r1"]


def test_the_first_revision_of_all_may_be_about_indexes(upgrade: Upgrade, standing: Found) -> None:
    upgrade(BY_YEAR, BY_YEAR.replace("'ix'", "'b'"))
    assert standing() == {"b": "btree (year)", "ix": "btree (year)"}


def test_a_column_goes_once_no_index_covers_it(upgrade: Upgrade, sql: Sql) -> None:
    sql("CREATE INDEX partial ON books (id) WHERE year > 3;; SELECT 1")
    drop = "op.drop_column('books', 'year')"
    with pytest.raises(
        SetupError, match=r"The index partial covers the column year of books.* op\.remove_index\('partial', 'books'\)"
    ):
        upgrade("op.execute('INSERT INTO books VALUES (1000)')", drop)
    assert sql("SELECT year FROM books WHERE id = 1000") == []
    sql("DROP INDEX partial;; SELECT 1")
    upgrade()
    assert sql("SELECT 1 FROM pg_attribute WHERE attrelid = 'books'::regclass AND attname = 'year'") == []
