"""PostgreSQL writes what an index is: of a model, of a migration's words, of what stands."""

import pytest
from sqlalchemy import Column, Connection, Enum, Index, Integer, MetaData, Sequence, Table, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import CITEXT

from service.errors import SetupError
from service.migrations.definitions import Definition, rewritten, standing, written
from tests.migrations.conftest import Inside, Sql


def test_a_model_that_the_database_knows_nothing_of(inside: Inside, sql: Sql) -> None:
    shelves = Table(
        "shelves",
        MetaData(),
        Column("id", Integer, Sequence("shelf_numbers"), primary_key=True),
        Column("kind", Enum("low", "high", name="shelf_kind")),
        Column("name", Text, server_default=func.a_function_to_come()),
        UniqueConstraint("name", name="uq_name"),
        schema="attic",
    )
    Index("ix_kind", shelves.c.id, postgresql_where=shelves.c.kind == "low")
    Index("ix_name", shelves.c.name, postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"})
    sql("CREATE SCHEMA attic;; SELECT 1")
    found = inside(lambda connection: written(connection, shelves))
    assert {name: str(definition) for name, definition in found.items()} == {
        "shelfmark_probe_pkey": "unique btree (id)",
        "uq_name": "unique btree (name)",
        "ix_kind": "btree (id) WHERE (kind = 'low'::attic.shelf_kind)",
        "ix_name": "gin (name gin_trgm_ops)",
    }
    assert sql("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'") == []
    assert sql("SELECT 1 FROM pg_type WHERE typname = 'shelf_kind'") == []


def test_what_stands_with_all_that_it_needs(inside: Inside, sql: Sql) -> None:
    sql(
        "CREATE EXTENSION pg_trgm;; "
        'CREATE TABLE "a USING b" (id integer PRIMARY KEY, name text, width integer, "Room" text);; '
        'CREATE INDEX ".a USING b USING c" ON "a USING b" USING gin (lower(name) gin_trgm_ops, "Room" gin_trgm_ops) '
        "WHERE width > 3 AND name <> ' USING ';; SELECT 1"
    )
    found = inside(lambda connection: standing(connection, "a USING b"))
    assert found["a USING b_pkey"].of_constraint
    index = found[".a USING b USING c"]
    words = "gin (lower(name) gin_trgm_ops, \"Room\" gin_trgm_ops) WHERE ((width > 3) AND (name <> ' USING '::text))"
    assert index.definition == Definition(unique=False, words=words)
    assert (index.valid, index.of_constraint, index.computed) == (True, False, True)
    assert (index.columns, index.extensions) == ({"name", "width", "Room"}, {"pg_trgm"})


def test_words_are_written_as_postgresql_writes_them(inside: Inside, sql: Sql) -> None:
    sql('CREATE SCHEMA attic;; CREATE TABLE attic."Shelves" (id bigint, name varchar(10));; SELECT 1')
    loose = Definition(unique=True, words="BTREE (ID asc nulls last, Lower(name) desc) where name in ('a', 'b')")
    assert inside(lambda connection: rewritten(connection, "Shelves", loose, "attic")) == Definition(
        unique=True,
        words=(
            "btree (id, lower((name)::text) DESC) "
            "WHERE ((name)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))"
        ),
    )


def test_an_extension_that_the_role_may_not_create(inside: Inside, sql: Sql) -> None:
    shelves = Table("shelves", MetaData(), Column("name", Text))
    Index("ix", shelves.c.name, postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"})

    def as_a_guest(connection: Connection) -> None:
        connection.execute(text("CREATE ROLE shelfmark_probing"))
        connection.execute(text("SET ROLE shelfmark_probing"))
        written(connection, shelves)

    with pytest.raises(
        SetupError, match=r"An index of shelves needs the extension pg_trgm.* permission denied .* \(CREATE EXTENSION"
    ):
        inside(as_a_guest)


def test_a_type_that_only_an_extension_has(inside: Inside) -> None:
    shelves = Table("shelves", MetaData(), Column("name", CITEXT))
    with pytest.raises(SetupError, match=r'can\'t make the columns of shelves: type "citext" does not exist\. .*create_extension'):
        inside(lambda connection: written(connection, shelves))
