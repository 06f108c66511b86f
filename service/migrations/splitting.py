"""One autogenerate, up to three revisions: indexes that must go first, everything transactional, all other indexes.

An operation on an index of a table in use stands by itself once it is done; a revision that mixed it with others couldn't be run
again after it was broken off. So a revision holds either such operations alone, or none of them. The second follows the first, and
each is the exact way back of its own way forward.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from alembic.operations import MigrateOperation
from alembic.operations.ops import (
    AddColumnOp,
    AddConstraintOp,
    AlterColumnOp,
    CreateForeignKeyOp,
    CreateIndexOp,
    CreateTableOp,
    DowngradeOps,
    DropColumnOp,
    MigrationScript,
    ModifyTableOps,
    OpContainer,
    UpgradeOps,
)
from alembic.runtime.migration import MigrationContext
from alembic.util import rev_id
from sqlalchemy import ForeignKeyConstraint

from service.migrations.concurrent import BuildIndex, IndexOperation, RemoveIndex, RenameIndex
from service.migrations.extensions import CreateExtension

Name = tuple[str | None, str | None]
FIRST, LAST = "indexes first", "indexes"


def split(_: MigrationContext, __: object, directives: list[MigrationScript]) -> None:
    """Alembic's `process_revision_directives`: divide what autogenerate found."""
    script = directives[-1]
    if len(script.upgrade_ops_list) != 1:
        return
    (whole,) = script.upgrade_ops_list
    differences = whole.as_diffs()
    stages = Stages.of(whole.ops)
    if stages.first or stages.last:
        directives[-1:] = _chained(script, stages, differences)


@dataclass
class Stages:
    """The operations of the three revisions."""

    first: list[MigrateOperation] = field(default_factory=list)
    transactional: list[MigrateOperation] = field(default_factory=list)
    last: list[MigrateOperation] = field(default_factory=list)

    @classmethod
    def of(cls, operations: Iterable[MigrateOperation]) -> "Stages":
        """Divide operations; those on indexes are taken out of the tables that they are about."""
        stages, indexes = cls(), []
        for operation in operations:
            kept, taken = _taken(operation)
            stages.transactional.extend(kept)
            indexes.extend(taken)
        changes = _Changes.of(stages.transactional)
        for index in indexes:
            stages.place(index, changes)
        for stage in (stages.first, stages.last):
            stage[:] = _ordered(stage)
        return stages

    def place(self, operation: IndexOperation, changes: "_Changes") -> None:
        """Before the others goes what would be in their way, or what they need.

        An index over a column that goes, or under a name that is needed; a unique one that a new foreign key refers to.
        """
        if isinstance(operation, BuildIndex) and changes.rest_on(operation) and changes.can_be_first(operation):
            self.first.append(operation)
        elif not changes.concern(operation):
            self.last.append(operation)
        elif not isinstance(operation, BuildIndex) or operation.replaces is None or changes.can_be_first(operation):
            self.first.append(operation)
        else:
            was, table, schema = operation.replaces, operation.table, operation.schema
            self.first.append(RemoveIndex(operation.name, table, schema=schema, was=was))
            self.last.append(BuildIndex(operation.index, table, schema=schema))


@dataclass
class _Changes:
    """What the transactional revision does.

    Attributes:
        leaving: columns that are no longer as they were.
        coming: columns that are not yet as they will be.
        claimed: names that it needs.
        extensions: those that it creates.
        referred: tables that new foreign keys refer to.
    """

    leaving: set[tuple[Name, str]] = field(default_factory=set)
    coming: set[tuple[Name, str]] = field(default_factory=set)
    claimed: set[Name] = field(default_factory=set)
    extensions: set[str] = field(default_factory=set)
    referred: set[Name] = field(default_factory=set)

    @classmethod
    def of(cls, operations: Iterable[MigrateOperation]) -> "_Changes":
        changes = cls()
        for operation in _each(operations):
            changes._note(operation)
        return changes

    def concern(self, operation: IndexOperation) -> bool:
        """Whether an operation on an index must come first, at least in part."""
        if isinstance(operation, RenameIndex):
            return (operation.schema, operation.old) in self.claimed
        stands = operation.was if isinstance(operation, RemoveIndex) else getattr(operation, "replaces", None)
        if stands is None:
            return False
        return (operation.schema, operation.name) in self.claimed or _over(operation, stands.columns, self.leaving)

    def rest_on(self, operation: BuildIndex) -> bool:
        """Whether a foreign key may need the index."""
        return operation.index.definition.unique and (operation.schema, operation.table) in self.referred

    def can_be_first(self, operation: BuildIndex) -> bool:
        """Whether all that the new index needs is there already."""
        return not (operation.index.extensions & self.extensions or _over(operation, operation.index.columns, self.coming))

    def _note(self, operation: MigrateOperation) -> None:
        match operation:
            case DropColumnOp():
                self.leaving.add(((operation.schema, operation.table_name), operation.column_name))
            case AddColumnOp():
                self.coming.add(((operation.schema, operation.table_name), operation.column.name))
            case AlterColumnOp() if operation.modify_type is not None:
                column = ((operation.schema, operation.table_name), operation.column_name)
                self.leaving.add(column)
                self.coming.add(column)
            case CreateExtension():
                self.extensions.add(operation.name)
            case CreateForeignKeyOp():
                self.referred.add((operation.kw.get("referent_schema"), operation.referent_table))
            case AddConstraintOp():
                self.claimed.add((getattr(operation, "schema", None), getattr(operation, "constraint_name", None)))
            case CreateIndexOp():
                self.claimed.add((operation.schema, operation.index_name))
            case CreateTableOp():
                self.claimed.add((operation.schema, operation.table_name))
                self.referred |= {place for item in operation.columns if (place := _referred(item))}


def _referred(item: object) -> Name | None:
    """The table that a foreign key of a new table refers to."""
    if not isinstance(item, ForeignKeyConstraint):
        return None
    table = item.referred_table
    return table.schema, table.name


def _over(operation: IndexOperation, columns: Iterable[str], changed: set[tuple[Name, str]]) -> bool:
    return any(((operation.schema, operation.table), column) in changed for column in columns)


def _each(operations: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
    for operation in operations:
        if isinstance(operation, OpContainer):
            yield from _each(operation.ops)
        else:
            yield operation


def _taken(operation: MigrateOperation) -> tuple[list[MigrateOperation], list[IndexOperation]]:
    """What stays of an operation, and the operations on indexes inside it."""
    if not isinstance(operation, ModifyTableOps):
        return [operation], []
    taken = [each for each in operation.ops if isinstance(each, IndexOperation)]
    operation.ops[:] = [each for each in operation.ops if not isinstance(each, IndexOperation)]
    return ([operation] if operation.ops else []), taken


def _ordered(operations: Sequence[MigrateOperation]) -> list[MigrateOperation]:
    """A name that an index of another table is to have is freed first; apart from that, what goes goes last."""
    needed = {(each.schema, each.name) for each in operations if isinstance(each, BuildIndex | RenameIndex)}

    def rank(operation: MigrateOperation) -> int:
        match operation:
            case RemoveIndex():
                return 0 if (operation.schema, operation.name) in needed else 3
            case RenameIndex():
                return 1
        return 2

    return sorted(operations, key=rank)


class _Answering(UpgradeOps):
    """The last part of a whole, which answers for all of it: `alembic check` asks no other."""

    def __init__(self, operations: list[MigrateOperation], token: str, differences: list[object]) -> None:
        super().__init__(operations, upgrade_token=token)
        self._differences = differences

    def as_diffs(self) -> list[object]:
        return self._differences


def _chained(script: MigrationScript, stages: Stages, differences: list[object]) -> list[MigrationScript]:
    parts = [(stages.first, FIRST), (stages.transactional, None), (stages.last, LAST)]
    parts = [(operations, suffix) for operations, suffix in parts if operations]
    if len(parts) == 1:
        parts = [(parts[0][0], None)]
    keeps = next((at for at, (_, suffix) in enumerate(parts) if suffix is None), len(parts) - 1)
    scripts = [script if at == keeps else _another(script, suffix) for at, (_, suffix) in enumerate(parts)]
    _chain(scripts, script)
    (up,), (down,) = script.upgrade_ops_list, script.downgrade_ops_list
    for one, (operations, _) in zip(scripts, parts, strict=True):
        forward = UpgradeOps(operations, upgrade_token=up.upgrade_token)
        if one is scripts[-1]:
            forward = _Answering(operations, up.upgrade_token, differences)
        one.upgrade_ops, one.downgrade_ops = forward, forward.reverse_into(DowngradeOps([], downgrade_token=down.downgrade_token))
    return scripts


def _another(script: MigrationScript, suffix: str | None) -> MigrationScript:
    message = ": ".join(part for part in ((script.message or "").rstrip(".!? "), suffix) if part)
    return MigrationScript(rev_id(), UpgradeOps(), DowngradeOps(), message=message, version_path=script.version_path)


def _chain(scripts: list[MigrationScript], asked: MigrationScript) -> None:
    """Each follows the one before; what was asked for about the place in the tree is for the first."""
    first = scripts[0]
    first.head, first.splice, first.branch_label, first.depends_on = asked.head, asked.splice, asked.branch_label, asked.depends_on
    for before, one in pairwise(scripts):
        one.head, one.splice, one.branch_label, one.depends_on = before.rev_id, False, None, None
