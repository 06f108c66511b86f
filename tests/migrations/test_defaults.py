"""Server defaults: no difference invented, none missed."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, Integer, Numeric, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table

DEFAULTS: list[tuple[Any, Any]] = [
    (Text(collation="C"), text("gen_random_uuid()::text")),
    (Text(collation="C"), "it's"),
    (JSONB(), "{}"),
    (JSONB(), text("jsonb_build_object('a', 1)")),
    (BigInteger(), "1"),
    (Integer(), text("(1 + 2) * 3")),
    (Numeric(8, 2), "0.5"),
    (Boolean(), text("true")),
    (Date(), func.current_date()),
    (Text(), func.concat("a", "b")),
]


CHANGES: list[tuple[Any, Any, Any]] = [
    (Text(), text("gen_random_uuid()::text"), text("upper(gen_random_uuid()::text)")),
    (Integer(), text("(1 + 2) * 3"), text("1 + 2 * 3")),
    (Integer(), text("1 + 1"), "2"),
    (JSONB(), "{}", "[]"),
    (Text(), "a", None),
    (Text(), None, "a"),
]


def test_the_same_default_is_no_difference(project: Project) -> None:
    tables = metadata()
    columns: list[Column[Any]] = [
        Column(f"c{number}", kind, server_default=default) for number, (kind, default) in enumerate(DEFAULTS)
    ]
    table(tables, "shelves", *columns)
    project.build(tables)
    assert project.differences(tables) == []


def test_another_default_is_seen_and_mended(project: Project, sql: Sql) -> None:
    old, new = metadata(), metadata()
    table(old, "shelves", *[Column(f"c{number}", kind, server_default=it) for number, (kind, it, _) in enumerate(CHANGES)])
    table(new, "shelves", *[Column(f"c{number}", kind, server_default=it) for number, (kind, _, it) in enumerate(CHANGES)])
    project.build(old)
    assert project.differences(new) == [
        f"Column shelves.c{number} has another default in the database than in the model." for number in range(len(CHANGES))
    ]
    project.build(new)
    assert project.differences(new) == []
    assert sql("SELECT 1 FROM pg_class WHERE relname = 'shelfmark_default_probe'") == []
