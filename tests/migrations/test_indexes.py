"""Indexes: Alembic's inventions are taken back, what it sees rightly stays."""

from collections.abc import Callable

from sqlalchemy import Column, Index, Integer, MetaData, Table, Text, func

from service.db import folded
from tests.migrations.projects import Project, metadata, table

SAME: list[Callable[[Table], Index]] = [
    lambda shelves: Index("ix0", folded(shelves.c.name), shelves.c.id),
    lambda shelves: Index("ix1", folded(shelves.c.name), unique=True),
    lambda shelves: Index(
        "ix2", folded(shelves.c.name).label("folded"), postgresql_using="gin", postgresql_ops={"folded": "gin_trgm_ops"}
    ),
    lambda shelves: Index("ix3", shelves.c.width.desc().nulls_last(), shelves.c.id.desc()),
    lambda shelves: Index("ix4", shelves.c.name, postgresql_where=shelves.c.width.is_(None)),
    lambda shelves: Index("ix5", shelves.c.name, postgresql_include=["width"]),
    lambda shelves: Index("ix6", func.coalesce(shelves.c.width, shelves.c.id)),
]
OTHER: list[Callable[[Table], Index]] = [
    lambda shelves: Index("ix0", func.lower(shelves.c.name), shelves.c.id),
    lambda shelves: Index("ix1", folded(shelves.c.name)),
    lambda shelves: Index("ix3", shelves.c.width.desc(), shelves.c.id.desc()),
    lambda shelves: Index("ix6", func.coalesce(shelves.c.id, shelves.c.width)),
]


def indexed(makers: list[Callable[[Table], Index]]) -> MetaData:
    """A table with a name that needs quotes, and these indexes."""
    tables = metadata()
    shelves = table(tables, "Shelves", Column("name", Text(collation="C")), Column("width", Integer))
    for make in makers:
        make(shelves)
    return tables


def test_the_same_index_is_no_difference(project: Project) -> None:
    project.build(indexed(SAME))
    assert project.differences(indexed(SAME)) == []


def test_another_index_under_the_same_name_is_seen_and_mended(project: Project) -> None:
    project.build(indexed(SAME))
    said = project.differences(indexed(OTHER))
    for name in ("ix0", "ix1", "ix3", "ix6"):
        assert f"Index {name} is missing, or different." in said
        assert f"Index {name} is in no model, or different." in said
    project.build(indexed(OTHER))
    assert project.differences(indexed(OTHER)) == []


def test_an_index_on_a_column_that_is_still_to_come(project: Project) -> None:
    project.build(indexed(SAME))
    tables = metadata()
    shelves = table(tables, "Shelves", Column("name", Text(collation="C")), Column("width", Integer), Column("room", Text))
    Index("ix0", folded(shelves.c.name), shelves.c.room)
    project.build(tables)
    assert project.differences(tables) == []
