"""What a move will do, known before it is done."""

import pytest

from service import migrations
from service.errors import SetupError
from service.migrations.planning import written
from tests.migrations.conftest import Sql
from tests.migrations.standalone import Standalone

TOUCHED = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"


@pytest.fixture
def three(standalone: Standalone) -> Standalone:
    """Three migrations, the last of which asks the database on its way."""
    standalone.revise("first", "op.execute('CREATE TABLE books (id int)')", back="op.execute('DROP TABLE books')")
    standalone.revise("second", "op.build_index('ix', 'books', 'btree (id)')", back="op.remove_index('ix', 'books')")
    standalone.revise("third", "op.get_bind().execute(sa.text('SELECT 1')).scalar_one()")
    return standalone


def planned(project: Standalone, revision: str = "head") -> list[str]:
    """The migrations on the way, each with its steps."""
    found = migrations.plan(project.url, revision, ini=project.ini)
    return [
        f"{'back from ' if one.back else ''}{one.revision}: {'?' if one.steps is None else '; '.join(s.words for s in one.steps)}"
        for one in found
    ]


def test_the_way_forward(three: Standalone, sql: Sql) -> None:
    assert planned(three) == ["first: CREATE TABLE books", "second: CREATE INDEX CONCURRENTLY ix ON books", "third: ?"]
    assert planned(three, "+1") == ["first: CREATE TABLE books"]
    assert planned(three, "second") == planned(three)[:2]
    assert sql(TOUCHED) == []


def test_the_way_back_and_none(three: Standalone) -> None:
    assert planned(three, "base") == []
    migrations.upgrade(three.url, "second", ini=three.ini)
    assert planned(three, "second") == []
    assert planned(three) == ["third: ?"]
    assert planned(three, "base") == ["back from second: DROP INDEX CONCURRENTLY ix", "back from first: DROP TABLE books"]
    assert planned(three, "first") == planned(three, "-1") == planned(three, "base")[:1]
    assert migrations.current(three.url) == "second"


def test_the_table_of_a_standing_index_is_known(three: Standalone) -> None:
    migrations.upgrade(three.url, "second", ini=three.ini)
    (back,) = migrations.plan(three.url, "first", ini=three.ini)
    assert back.steps
    assert str(back.steps[0].effect).startswith("blocks neither reads nor writes of books")


def test_a_plan_takes_no_lock(three: Standalone, sql: Sql) -> None:
    from service.migrations.safety import LOCK
    from tests.migrations.standalone import bystander

    with bystander(three.url) as other:
        other.does(f"SELECT pg_advisory_lock({LOCK})")
        assert planned(three, "first") == ["first: CREATE TABLE books"]


def test_what_a_migration_is_told_is_what_it_does(three: Standalone) -> None:
    told: list[migrations.Planned] = []
    migrations.upgrade(three.url, ini=three.ini, told=told.extend)
    assert [one.revision for one in told] == ["first", "second", "third"]
    migrations.downgrade(three.url, "base", ini=three.ini, told=told.extend)
    assert [(one.revision, one.back) for one in told[3:]] == [("third", True), ("second", True), ("first", True)]


def test_nowhere_to_go(three: Standalone) -> None:
    with pytest.raises(SetupError, match="Can't locate revision"):
        migrations.plan(three.url, "nowhere", ini=three.ini)


def test_a_migration_that_has_no_sql_without_a_database() -> None:
    def reads() -> None:
        raise AttributeError

    assert written(reads) is None
    assert written(lambda: None) == ""
