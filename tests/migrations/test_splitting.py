"""One autogenerate becomes as many revisions as it needs, none of them mixed."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.operations import MigrateOperation
from alembic.operations.ops import (
    AddColumnOp,
    CreateIndexOp,
    CreateUniqueConstraintOp,
    DowngradeOps,
    DropColumnOp,
    MigrationScript,
    ModifyTableOps,
    UpgradeOps,
)
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Text

from service.migrations import building
from service.migrations.concurrent import BuildIndex, RemoveIndex, RenameIndex
from service.migrations.definitions import Definition, Standing
from service.migrations.extensions import CreateExtension
from service.migrations.splitting import Stages, split
from tests.migrations.changes import both, new, nothing, of, shelf
from tests.migrations.conftest import Sql
from tests.migrations.projects import Project, metadata, table


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service runs here that would have to be waited for."""
    monkeypatch.setattr(building, "WITHDRAWN_SECONDS", 0.0)


def shelves(says: object = nothing) -> MetaData:
    """One table."""
    made = metadata()
    told = shelf(made, "shelves")
    if callable(says):
        says(told)
    return made


def parts(path: Path) -> tuple[str, str, str, list[str]]:
    """A revision's title, itself, what it follows, and the operations of its way forward."""
    text = path.read_text()
    title = text.partition("\n")[0].strip('"')
    found = [re.search(rf"^{name}: .*= '(\w+)'", text, re.MULTILINE) for name in ("revision", "down_revision")]
    forward = text.partition("def downgrade")[0]
    return title, *(match[1] if match else "" for match in found), re.findall(r"^ +op\.(\w+)\(", forward, re.MULTILINE)  # type: ignore[return-value]


def test_a_column_with_its_index_is_two_chained_revisions(project: Project) -> None:
    project.build(shelves())
    first, second = map(parts, project.revisions(shelves(both(new("room"), of("room"))), "add room to shelves."))
    assert (first[0], first[3]) == ("add room to shelves.", ["add_column"])
    assert (second[0], second[3]) == ("add room to shelves: indexes.", ["build_index"])
    assert second[2] == first[1]


def test_indexes_alone_are_one_revision_under_its_own_name(project: Project) -> None:
    project.build(shelves())
    (only,) = map(parts, project.revisions(shelves(both(of("name"), of("width", name="b"))), "shelves by name"))
    assert (only[0], only[3]) == ("shelves by name.", ["build_index", "build_index"])


def test_a_new_table_has_its_indexes_in_its_own_revision(project: Project) -> None:
    (only,) = map(parts, project.revisions(shelves(of("name"))))
    assert only[3] == ["create_row_version_function", "create_table", "create_index", "create_row_version"]


def test_an_extension_comes_in_a_revision_before_the_index_that_needs_it(project: Project, sql: Sql) -> None:
    project.build(shelves(of("width", "id")))
    sql("CREATE EXTENSION btree_gin;; SELECT 1")
    operator_class = of("name", name="t", postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"})
    changed = both(operator_class, of("width", "id", postgresql_using="gin"))
    first, second = map(parts, project.revisions(shelves(changed)))
    assert (first[3], second[3]) == (["create_extension", "create_extension"], ["build_index", "build_index"])
    project.upgrade(shelves(changed))
    assert project.differences(shelves(changed)) == []


def test_an_extension_that_an_index_of_ours_has_brought_is_not_brought_again(project: Project) -> None:
    trigrams = of("name", postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"})
    project.build(shelves(trigrams))
    faster = of("name", postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"}, postgresql_with={"fastupdate": "off"})
    (only,) = map(parts, project.revisions(shelves(faster)))
    assert only[3] == ["build_index"]


def test_a_unique_index_that_a_new_foreign_key_refers_to_goes_first(project: Project) -> None:
    before, now = shelves(), shelves(of("width", unique=True))
    table(before, "rooms")
    for name in ("rooms", "halls"):
        table(now, name, Column("shelf", Integer, ForeignKey("the_shelves.width")))
    project.build(before)
    first, second = map(parts, project.revisions(now, "rooms have shelves"))
    assert (first[0], first[3]) == ("rooms have shelves: indexes first.", ["build_index"])
    assert {"create_table", "create_foreign_key"} <= set(second[3])
    project.upgrade(now)
    assert project.differences(now) == []
    project.downgrade(before, "-2")


def test_check_sees_all_of_them(project: Project) -> None:
    project.build(shelves(both(new("old"), of("old"))))
    assert project.differences(shelves(both(new("room"), of("room", name="b")))) == [
        "Column the_shelves.room is missing.",
        "Index b of the_shelves is missing: btree (room).",
        "Index ix_the_shelves of the_shelves is in no model.",
        "Column the_shelves.old is in no model.",
    ]


def test_what_was_asked_for_is_kept(project: Project) -> None:
    """The revision's own name is that of the transactional one; its place in the tree that of the first."""
    project.build(shelves(both(new("old"), of("old"))))
    model = shelves(both(new("room"), of("room")))
    written = command.revision(project.config(model), "x", autogenerate=True, rev_id="chosen", branch_label="twig")
    assert isinstance(written, list)
    chain = [script for script in written if script is not None]
    assert [script.revision == "chosen" for script in chain] == [False, True, False]
    labelled = ["'twig'" in Path(script.path).read_text() for script in chain]
    assert labelled == [True, False, False]


def test_without_a_message() -> None:
    index = BuildIndex(Standing("a", Definition(unique=False, words="btree (id)")), "shelves")
    add = AddColumnOp("shelves", Column("room", Integer))
    directives = [MigrationScript("r", UpgradeOps([ModifyTableOps("shelves", [add, index])]), DowngradeOps())]
    split(None, None, directives)  # type: ignore[arg-type]
    assert [script.message for script in directives] == [None, "indexes"]


def standing(name: str, *columns: str) -> Standing:
    return Standing(name, Definition(unique=False, words=f"btree ({', '.join(columns)})"), columns=frozenset(columns))


WAS, OTHER = standing("a", "old"), standing("a", "id")
NEEDY = replace(OTHER, extensions=frozenset({"ext"}))
DROP = DropColumnOp("shelves", "old")


@pytest.mark.parametrize(
    ("operations", "first", "last"),
    [
        ([DROP, RemoveIndex("a", "shelves", was=WAS)], ["remove a"], []),
        ([DROP, RemoveIndex("a", "rooms", was=WAS)], [], ["remove a"]),
        ([DROP, BuildIndex(OTHER, "shelves", replaces=WAS)], ["build a"], []),
        ([DROP, AddColumnOp("shelves", Column("id", Text)), BuildIndex(OTHER, "shelves", replaces=WAS)], ["remove a"], ["build a"]),
        ([DROP, CreateExtension("ext"), BuildIndex(NEEDY, "shelves", replaces=WAS)], ["remove a"], ["build a"]),
        ([DROP, BuildIndex(NEEDY, "shelves", replaces=WAS)], ["build a"], []),
        ([RemoveIndex("a", "shelves", was=OTHER)], [], ["remove a"]),
        ([CreateUniqueConstraintOp("a", "shelves", ["id"]), RemoveIndex("a", "shelves", was=OTHER)], ["remove a"], []),
        ([CreateIndexOp("a", "rooms", ["id"]), RemoveIndex("a", "shelves", was=OTHER)], ["remove a"], []),
        ([CreateIndexOp("a", "rooms", ["id"]), RenameIndex("a", "b", "shelves")], ["rename b"], []),
        (
            [RemoveIndex("b", "shelves"), RemoveIndex("a", "shelves"), BuildIndex(OTHER, "rooms")],
            [],
            ["remove a", "build a", "remove b"],
        ),
        ([BuildIndex(OTHER, "rooms"), RenameIndex("b", "c", "shelves")], [], ["rename c", "build a"]),
    ],
)
def test_what_goes_first_and_what_last(operations: list[MigrateOperation], first: list[str], last: list[str]) -> None:
    stages = Stages.of([ModifyTableOps("any", operations)])
    assert [said(operation) for operation in stages.first] == first
    assert [said(operation) for operation in stages.last] == last


def said(operation: MigrateOperation) -> str:
    match operation:
        case BuildIndex():
            return f"build {operation.name}"
        case RemoveIndex():
            return f"remove {operation.name}"
        case RenameIndex():
            return f"rename {operation.name}"
    return "something else"
