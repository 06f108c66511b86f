"""Every difference of an index is seen and mended, and none is invented.

All changes go through one cycle together, each on a table of its own: up to the old model, on to the new one, back, and on again.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import func

from service.errors import SetupError
from service.migrations import building
from tests.fixtures.databases import new_database
from tests.fixtures.servers import Servers
from tests.migrations.changes import CHANGES, OTHERS, SAME, Says, by, called, model, models, nothing, of, told, unchanged
from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, fetch

pytestmark = pytest.mark.xdist_group("comparing")

INDEXES = """
SELECT t.relname, pg_get_indexdef(i.indexrelid), c.conname FROM pg_index i
JOIN pg_class t ON t.oid = i.indrelid LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid
WHERE t.relnamespace::regnamespace::text IN ('public', 'attic')
"""
INVALIDATE = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{}'::regclass"
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
Standing = dict[str, set[tuple[str, str | None]]]


class Cycle:
    """What was found on the way."""

    def __init__(self, project: Project) -> None:
        old, now = models(now=False), models(now=True)
        self._url = project.url
        project.build(old)
        self.before = self._standing()
        self.seen = project.differences(now)
        self.written = [path.read_text() for path in project.revisions(now, "new indexes")]
        project.upgrade(now)
        self.after, self.seen_after = self._standing(), project.differences(now)
        project.downgrade(old, f"-{len(self.written)}")
        self.back = self._standing()
        project.upgrade(now)
        self.again, self.seen_again = self._standing(), project.differences(now)
        self.invalid = asyncio.run(fetch(project.url, INVALID))

    def of(self, table: str) -> list[str]:
        """What was seen of one table."""
        return [sentence for sentence in self.seen if re.search(rf"{table}(?![a-z_])", sentence)]

    def _standing(self) -> Standing:
        found: Standing = {}
        for table, definition, constraint in asyncio.run(fetch(self._url, INDEXES)):
            found.setdefault(table, set()).add((definition, constraint))
        return found


@pytest.fixture(autouse=True, scope="module")
def hurried() -> Iterator[None]:
    """No service runs here that would have to be waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "WITHDRAWN_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
async def url(servers: Servers) -> AsyncIterator[str]:
    """A database for all."""
    async with new_database(servers) as made:
        await fetch(made, "CREATE SCHEMA attic;; SELECT 1")
        yield made


@pytest.fixture(scope="module")
def cycle(hurried: None, url: str, tmp_path_factory: pytest.TempPathFactory) -> Cycle:
    """Forward, back and forward again."""
    return Cycle(Project(tmp_path_factory.mktemp("changes") / "project", url))


@pytest.mark.parametrize("change", CHANGES | OTHERS)
def test_a_change_is_seen_and_named(cycle: Cycle, change: str) -> None:
    assert sorted(cycle.of(called(change))) == sorted(told(change))


@pytest.mark.parametrize("change", CHANGES | OTHERS)
def test_its_downgrade_restores_the_old_definitions(cycle: Cycle, change: str) -> None:
    name = called(change)
    assert cycle.before.get(name) != cycle.after.get(name) or change in OTHERS
    assert cycle.back.get(name) == cycle.before.get(name)
    assert cycle.again.get(name) == cycle.after.get(name)


def test_nothing_is_left_to_do_after_the_upgrade(cycle: Cycle) -> None:
    assert (cycle.seen_after, cycle.seen_again, cycle.invalid) == ([], [], [])


def test_there_are_three_revisions_and_none_is_mixed(cycle: Cycle) -> None:
    first, transactional, last = cycle.written
    for text in (first, last):
        assert set(re.findall(r"op\.(\w+)\(", text)) <= {"build_index", "remove_index", "rename_index"}
    assert not {"build_index", "remove_index", "rename_index", "create_index"} & set(re.findall(r"op\.(\w+)\(", transactional))
    titles = [text.partition("\n")[0] for text in cycle.written]
    assert titles == ['"""new indexes: indexes first.', '"""new indexes.', '"""new indexes: indexes.']


def test_nothing_is_invented(project: Project, sql: Sql) -> None:
    sql("CREATE SCHEMA attic;; SELECT 1")
    project.build(unchanged())
    assert project.differences(unchanged()) == []
    standing = {row[0] for row in sql(INDEXES) if not row[1].startswith("CREATE UNIQUE INDEX pk") and "pk_" not in row[1]}
    assert {called(name) for name in SAME} <= standing


@pytest.mark.parametrize("valid", [True, False])
def test_what_a_broken_migration_left_behind_is_seen_and_removed(project: Project, sql: Sql, valid: bool) -> None:
    project.build(model(of("name")))
    sql("CREATE INDEX shelfmark_building_0123456789ab ON the_shelves (width)")
    if not valid:
        sql(f"{INVALIDATE.format('shelfmark_building_0123456789ab')};; SELECT 1")
    told = "Index shelfmark_building_0123456789ab of the_shelves was left behind by a migration that was broken off."
    assert project.differences(model(of("name"))) == [told]
    project.build(model(of("name")))
    assert project.differences(model(of("name"))) == []
    project.downgrade(model(of("name")), "-1")


def test_an_invalid_index_is_seen_and_built_again(project: Project, sql: Sql) -> None:
    project.build(model(of("name")))
    sql(f"{INVALIDATE.format('ix_the_shelves')};; SELECT 1")
    told = "Index ix_the_shelves of the_shelves is INVALID: a build of it was broken off."
    assert project.differences(model(of("name"))) == [told]
    project.build(model(of("name")))
    assert project.differences(model(of("name"))) == []
    project.downgrade(model(of("name")), "-1")
    assert sql(INVALID) == []


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (
            of("name", postgresql_ops={"name": "nonsense_ops"}),
            r'operator class "nonsense_ops" does not exist .* Correct the operator class',
        ),
        (of("width", postgresql_using="gin"), r"no default operator class .*btree_gin"),
        (by(lambda _: func.clock_timestamp()), r"must be marked IMMUTABLE\. What an index computes"),
        (by(lambda t: func.nonsense(t.c.name)), r"function nonsense\(text\) does not exist\. Correct the index"),
    ],
)
def test_an_index_that_cannot_be_built_ends_in_a_sentence(project: Project, index: Says, said: str) -> None:
    project.build(model(nothing))
    with pytest.raises(SetupError, match=rf"^PostgreSQL can't build the index ix_the_shelves of the_shelves: .*{said}"):
        project.revisions(model(index))


def test_a_partitioned_table_gets_a_sentence(project: Project, sql: Sql) -> None:
    project.build(model(of("name"), postgresql_partition_by="RANGE (id)"))
    sql("CREATE TABLE the_shelves_1 PARTITION OF the_shelves FOR VALUES FROM (0) TO (10)")
    assert project.differences(model(of("name"), postgresql_partition_by="RANGE (id)")) == []
    with pytest.raises(SetupError, match="the_shelves is partitioned, and PostgreSQL neither builds nor drops an index"):
        project.revisions(model(of("width"), postgresql_partition_by="RANGE (id)"))
