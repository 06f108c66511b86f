"""Extensions: written where an index needs one, left where they are on the way back."""

from sqlalchemy import Column, Index, MetaData, Text

from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table

INSTALLED = "SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'"


def searched() -> MetaData:
    tables = metadata()
    shelves = table(tables, "shelves", Column("name", Text))
    Index("ix_shelves_search", shelves.c.name, postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"})
    return tables


def test_a_trigram_index_brings_its_extension(project: Project, sql: Sql) -> None:
    tables = searched()
    project.build(tables)
    assert len(sql(INSTALLED)) == 1
    assert project.differences(tables) == []
    project.downgrade(tables, "base")
    assert len(sql(INSTALLED)) == 1
    project.upgrade(tables)


def test_the_way_back_says_why_it_stays(project: Project) -> None:
    _, back = project.revise(searched()).read_text().split("def downgrade")
    assert "# The extension pg_trgm stays" in back


def test_it_is_written_for_databases_that_lack_it_though_this_one_does_not(project: Project, sql: Sql) -> None:
    sql("CREATE EXTENSION pg_trgm")
    assert 'op.create_extension("pg_trgm")' in project.revise(searched()).read_text().replace("'", '"')


def test_a_lost_extension_is_named_with_its_index(project: Project, sql: Sql) -> None:
    tables = searched()
    project.build(tables)
    sql("DROP EXTENSION pg_trgm CASCADE")
    assert project.differences(tables) == [
        "The extension pg_trgm is missing.",
        "Index ix_shelves_search of shelves is missing: gin (name gin_trgm_ops).",
    ]
    project.build(tables)
    assert project.differences(tables) == []


def test_a_lost_index_does_not_blame_the_extension(project: Project, sql: Sql) -> None:
    tables = searched()
    project.build(tables)
    sql("DROP INDEX ix_shelves_search")
    assert "An index that is missing, or different, needs the extension pg_trgm, which is there." in project.differences(tables)
