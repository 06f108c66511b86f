"""Alembic's differences in words."""

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Text, UniqueConstraint

from service.migrations.differences import Difference, sentence, told
from tests.migrations.projects import Project, metadata, table


def before() -> MetaData:
    tables = metadata()
    table(tables, "rooms")
    table(tables, "shelves", Column("name", Text), Column("width", Integer), Column("room", ForeignKey("rooms.id")))
    return tables


def after() -> MetaData:
    tables = metadata()
    table(tables, "shelves", Column("name", String(10)), Column("width", Integer, nullable=False), UniqueConstraint("name"))
    table(tables, "cards", Column("shelf", ForeignKey("shelves.id")))
    return tables


def test_all_kinds_are_said_in_words(project: Project) -> None:
    project.build(before())
    said = set(project.differences(after()))
    assert {
        "Table cards is missing.",
        "Table rooms is in no model.",
        "Table cards lacks the trigger that keeps its row version.",
        "Column shelves.room is in no model.",
        "Column shelves.name has the type TEXT() in the database, String(length=10) in the model.",
        "Column shelves.width: nullable is True in the database, False in the model.",
        "Constraint uq_shelves_name is missing, or different.",
        "Foreign key fk_shelves_room is in no model, or different.",
    } <= said
    assert not any(line.startswith("The database and the models differ") for line in said)


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (("add_column", None, "shelves", Column("name", Text)), "Column shelves.name is missing."),
        (("remove_function", "f"), "The function f is needed by no table."),
        ([("add_table", Table("a", MetaData())), ("add_table", Table("b", MetaData()))], "Table a is missing. Table b is missing."),
        (("unheard_of", 1), "The database and the models differ: ('unheard_of', 1)."),
    ],
)
def test_a_difference(difference: object, said: str) -> None:
    assert sentence(difference) == said


@pytest.mark.parametrize(
    ("difference", "statement"),
    [
        (("missing_index", None, "a", "Odd", "unique btree (b)"), 'CREATE UNIQUE INDEX CONCURRENTLY "Odd" ON a USING btree (b)'),
        (("missing_index", "s", "a", "ix", "gin (b)"), "CREATE INDEX CONCURRENTLY ix ON s.a USING gin (b)"),
        (("broken_index", "s", "a", "ix"), "REINDEX INDEX CONCURRENTLY s.ix"),
        (("add_extension", "pg_trgm"), "CREATE EXTENSION pg_trgm"),
        (("changed_index", None, "a", "ix", "btree (b)", "btree (c)"), ""),
        ([("remove_function", "f")], ""),
    ],
)
def test_what_mends_it(difference: object, statement: str) -> None:
    """Only an index that went or broke behind the migrations' back: the rest is for a migration."""
    assert told(difference) == Difference(sentence(difference), statement)
