"""Which extensions an index needs, known by its operator classes."""

import pytest
from sqlalchemy import Column, Index, Text

from service.migrations.opclasses import needed
from tests.migrations.projects import metadata, table


@pytest.mark.parametrize(
    ("opclass", "extensions"),
    [("gist_trgm_ops", {"pg_trgm"}), ("public.gist_trgm_ops (siglen=32)", {"pg_trgm"}), ("text_pattern_ops", set())],
)
def test_which_operator_classes_need_one(opclass: str, extensions: set[str]) -> None:
    shelves = table(metadata(), "shelves", Column("name", Text))
    assert needed([Index("ix", shelves.c.name, postgresql_ops={"name": opclass})]) == extensions
