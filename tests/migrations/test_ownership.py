"""Autogenerate leaves other people's tables alone."""

from sqlalchemy import Column, MetaData, Text

from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table


def shelves(schema: str | None = None) -> MetaData:
    tables = metadata()
    table(tables, "shelves", Column("name", Text), schema=schema)
    return tables


def test_a_table_of_other_people_is_left_alone(project: Project, sql: Sql) -> None:
    sql("CREATE TABLE spatial_ref_sys (srid integer)")
    written = project.revise(shelves()).read_text()
    assert "spatial_ref_sys" not in written
    project.upgrade(shelves())
    assert project.differences(shelves()) == []


def test_so_it_is_when_it_has_columns_like_ours(project: Project, sql: Sql) -> None:
    sql("CREATE TABLE theirs (id integer, version integer, updated_at timestamptz)")
    assert project.differences(metadata()) == []


def test_a_table_of_ours_is_dropped_with_its_model(project: Project) -> None:
    project.build(shelves())
    assert project.differences(metadata())[1] == "Table shelves is in no model."


def test_other_schemas_are_not_looked_at(project: Project, sql: Sql) -> None:
    sql("CREATE SCHEMA attic;; CREATE SCHEMA cellar;; CREATE TABLE cellar.jars (id integer);; CREATE TABLE attic.jars (id integer)")
    project.build(shelves("attic"))
    assert project.differences(shelves("attic")) == []
