"""Migrations read as the SQL that they become, by squawk."""

from alembic.config import Config
from alembic.script import ScriptDirectory

from service.migrations.linting import findings
from tests.migrations.standalone import Standalone


def project(standalone: Standalone) -> ScriptDirectory:
    """The migrations of a project."""
    return ScriptDirectory.from_config(Config(standalone.ini))


def test_what_squawk_says_of_the_sql(standalone: Standalone) -> None:
    standalone.revise("first", "op.create_table('books', sa.Column('id', sa.BigInteger()))")
    standalone.revise("second", "op.alter_column('books', 'id', type_=sa.Text())", "op.drop_column('books', 'year')")
    (change, drop) = findings(project(standalone))
    assert change.startswith("second.py: changing-column-type: ")
    assert "It reads: ALTER TABLE books ALTER COLUMN id TYPE TEXT" in change
    assert drop.startswith("second.py: ban-drop-column: ")
    assert "# squawk: ban-drop-column, ..." in drop


def test_a_rule_is_broken_with_a_reason_only(standalone: Standalone) -> None:
    standalone.revise("first", "# squawk: ban-drop-column, nothing reads it any more", "op.drop_column('books', 'year')")
    standalone.revise("second", "# squawk: ban-drop-column", "op.drop_column('books', 'year')")
    assert [sentence.split(":")[0] for sentence in findings(project(standalone))] == ["second.py"]


def test_operations_on_indexes_please_squawk(standalone: Standalone) -> None:
    rename = "op.rename_index('a', 'b', 'books', 'btree (id)')"
    standalone.revise(
        "first",
        "op.build_index('ix', 'books', 'btree (year)')",
        "op.remove_index('iy', 'books')",
        rename,
        back="op.remove_index('ix', 'books')",
    )
    assert list(findings(project(standalone))) == []


def test_what_asks_the_database_on_its_way_is_left_to_its_reader(standalone: Standalone) -> None:
    standalone.revise("first", "op.get_bind().execute(sa.text('SELECT 1')).scalar_one()")
    assert list(findings(project(standalone))) == []
