"""The operations on indexes: how each is told, written down, and taken back."""

from pathlib import Path

import pytest
from alembic.autogenerate import render_python_code
from alembic.operations import MigrateOperation
from alembic.operations.ops import UpgradeOps

from service.migrations.concurrent import BuildIndex, IndexOperation, RemoveIndex, RenameIndex
from service.migrations.definitions import Definition, Standing
from service.migrations.differences import sentence
from service.migrations.formatting import tidy

ONE, OTHER = Definition(unique=False, words="btree (name)"), Definition(unique=True, words="btree (id, name)")
WAS, NOW, BROKEN = Standing("a", ONE), Standing("a", OTHER), Standing("a", ONE, valid=False)
LONG = Definition(unique=False, words=f"btree (name) WHERE (name = '{'x ' * 100}'::text)")

CASES: list[tuple[IndexOperation, str, str, str]] = [
    (
        BuildIndex(NOW, "shelves"),
        "op.build_index('a', 'shelves', 'btree (id, name)', unique=True)",
        "op.remove_index('a', 'shelves')",
        "Index a of shelves is missing: unique btree (id, name).",
    ),
    (
        BuildIndex(NOW, "shelves", schema="attic", replaces=WAS),
        "op.build_index('a', 'shelves', 'btree (id, name)', unique=True, schema='attic')",
        "op.build_index('a', 'shelves', 'btree (name)', schema='attic')",
        "Index a of shelves is btree (name) in the database, unique btree (id, name) in the model.",
    ),
    (
        BuildIndex(WAS, "shelves", replaces=BROKEN),
        "op.build_index('a', 'shelves', 'btree (name)')",
        "op.build_index('a', 'shelves', 'btree (name)')",
        "Index a of shelves is INVALID: a build of it was broken off.",
    ),
    (
        RemoveIndex("a", "shelves", was=BROKEN),
        "op.remove_index('a', 'shelves')",
        "op.build_index('a', 'shelves', 'btree (name)')",
        "Index a of shelves is in no model.",
    ),
    (
        RemoveIndex("a", "shelves"),
        "op.remove_index('a', 'shelves')",
        "op.remove_index('a', 'shelves')",
        "Index a of shelves was left behind by a migration that was broken off.",
    ),
    (
        RenameIndex("a", "b", "shelves", definition=OTHER, schema="attic"),
        "op.rename_index('a', 'b', 'shelves', 'btree (id, name)', unique=True, schema='attic')",
        "op.rename_index('b', 'a', 'shelves', 'btree (id, name)', unique=True, schema='attic')",
        "Index a of shelves is called b in the model.",
    ),
]


@pytest.mark.parametrize(("operation", "forward", "back", "told"), CASES)
def test_an_operation_is_written_taken_back_and_told(operation: IndexOperation, forward: str, back: str, told: str) -> None:
    assert written(operation) == forward
    assert written(operation.reverse()) == back
    assert sentence(operation.to_diff_tuple()) == told


def test_the_way_back_of_a_way_back_is_the_way_forward() -> None:
    for operation, forward, _, _ in CASES:
        assert written(operation.reverse().reverse()) == forward


def test_long_words_stand_on_lines_that_no_linter_minds(tmp_path: Path) -> None:
    file = tmp_path / "revision.py"
    file.write_text(written(BuildIndex(Standing("a", LONG), "shelves")))
    tidy(str(file))
    assert max(len(line) for line in file.read_text().splitlines()) <= 132


def written(operation: MigrateOperation) -> str:
    """The line of a migration."""
    rendered = render_python_code(UpgradeOps([operation])).splitlines()
    return "\n".join(line.strip() for line in rendered if "###" not in line)
