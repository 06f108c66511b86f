"""Migrations read before anybody runs them."""

import subprocess
import sys

import pytest
from alembic.script import ScriptDirectory

from service.migrations.commands import config
from service.migrations.linting import findings, mistakes
from tests.migrations.standalone import Standalone

UPGRADE = "def upgrade() -> None:\n    {}\n"


def found(*lines: str) -> list[str]:
    """What is wrong with an upgrade of these lines."""
    return list(mistakes(UPGRADE.format("\n    ".join(lines))))


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("op.create_index('ix', 'books', ['year'])", "2: create_index on books"),
        ("op.create_index(op.f('ix'), 'books', ['year'])", "Write op.build_index('ix', 'books', 'btree (...)')"),
        ("op.create_index('ix', table_name='books', columns=['year'])", "create_index on books"),
        ("op.create_index('ix', 'books', ['year'], postgresql_concurrently=True)", "Write op.build_index"),
        ("op.drop_index('ix', table_name='books')", "Write op.remove_index('ix', 'books') in a migration of its own"),
        ("op.drop_index('ix')", "drop_index on a table"),
        ("op.drop_index(name, table)", "Write op.remove_index('...', '...')"),
        ("op.restore_index('ix', 'books', 'btree (year)')", "Write op.build_index('ix', 'books', ...)"),
        ("with op.batch_alter_table('books') as batch:\n        batch.create_index('ix', ['year'])", "3: create_index on a table"),
    ],
)
def test_an_index_of_a_table_in_use(line: str, advice: str) -> None:
    (sentence,) = found(line)
    assert advice in sentence


def test_an_index_of_a_table_that_is_made_or_dropped_there() -> None:
    assert found("op.create_table('books', sa.Column('year'))", "op.create_index('ix', 'books', ['year'])") == []
    assert found("op.restore_index('ix', 'books', 'btree (year)')", "op.create_table('books')") == []
    assert found("op.drop_index('ix', table_name='books')", "op.drop_table('books')") == []
    assert len(found("op.create_table('authors')", "op.create_index('ix', 'books', ['year'])")) == 1


BUILD = "op.build_index('ix', 'books', 'btree (year)')"


@pytest.mark.parametrize(
    "other", ["op.add_column('books', sa.Column('a'))", "op.execute('ANALYZE')", "op.create_table('c')", "op.drop_constraint('d')"]
)
def test_operations_on_indexes_stand_alone(other: str) -> None:
    for lines in ((BUILD, other), (other, "op.remove_index('ix', 'books')"), (other, "op.rename_index('ix', 'iy', 'books')")):
        (sentence,) = found(*lines)
        assert sentence.startswith("1: upgrade() has op.")
        assert "a migration of their own, after this one" in sentence


def test_among_themselves_they_may_be_many() -> None:
    assert found(BUILD, "op.remove_index('iy', 'books')", "op.rename_index('a', 'b', 'books')", "op.get_bind()", "x.add(1)") == []


def test_the_way_back_is_read_too() -> None:
    source = UPGRADE.format(BUILD) + UPGRADE.format("op.drop_index('ix', 'books')").replace("upgrade", "downgrade")
    assert len(list(mistakes(source))) == 1


def test_the_projects_own_migrations() -> None:
    assert list(findings(ScriptDirectory.from_config(config()))) == []


def test_as_a_command(standalone: Standalone) -> None:
    standalone.revise("first", "op.create_index('ix', 'books', ['year'])")
    done = subprocess.run(
        [sys.executable, "-m", "service.migrations.linting", str(standalone.ini)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "first.py:" in done.stdout
    assert "op.build_index('ix', 'books', 'btree (...)')" in done.stdout
    assert "require-concurrent-index-creation" in done.stdout
