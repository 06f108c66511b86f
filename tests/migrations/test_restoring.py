"""The indexes of a table that goes come back with it, as they were."""

import pytest
from sqlalchemy import Column, Computed, Index, Integer, MetaData, Text, func

from service.errors import SetupError
from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table

INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = 'Shelves' ORDER BY 1"


def indexed() -> MetaData:
    """A table with what Alembic alone would bring back otherwise: collations of keys, operator classes, options."""
    made = metadata()
    generated = Column("twice", Integer, Computed("id * 2", persisted=True))
    shelves = table(made, "Shelves", Column("name", Text), generated, Column("Room", Text))
    Index("a", shelves.c.name.collate("C"), shelves.c.id.desc(), unique=True, postgresql_where=shelves.c["Room"].is_not(None))
    Index("b", func.lower(shelves.c.name).label("f"), postgresql_using="gist", postgresql_ops={"f": "gist_trgm_ops(siglen=32)"})
    Index("It's", shelves.c["Room"], shelves.c.twice, postgresql_include=["name"], postgresql_with={"fillfactor": 70})
    return made


def test_they_come_back_word_for_word(project: Project, sql: Sql) -> None:
    project.build(indexed())
    before = sql(INDEXES)
    assert len(before) == 4
    forward, back = project.revise(metadata()).read_text().split("def downgrade")
    assert "_index(" not in forward
    assert back.count("op.restore_index(") == 3
    project.upgrade(metadata())
    assert sql(INDEXES) == []
    project.downgrade(metadata(), "-1")
    assert sql(INDEXES) == before


def test_an_invalid_one_does_not(project: Project, sql: Sql) -> None:
    project.build(indexed())
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'a'::regclass;; SELECT 1")
    assert "'a'" not in project.revise(metadata()).read_text()


def test_they_are_built_before_anybody_sees_the_table(project: Project, sql: Sql) -> None:
    project.build(indexed())
    project.build(metadata())
    undone = next(path for path in project.versions.glob("*.py") if "restore_index" in path.read_text())
    undone.write_text(undone.read_text().replace("gist (lower", "nonsense (lower"))
    with pytest.raises(Exception, match='access method "nonsense" does not exist') as failed:
        project.downgrade(metadata(), "-1")
    assert not isinstance(failed.value, SetupError)
    assert sql("SELECT to_regclass('\"Shelves\"') AS it")[0]["it"] is None
