"""Extensions that an index needs: known by the operator class that it names, created before the first operation."""

from collections.abc import Iterable, Iterator

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateIndexOp, OpContainer, UpgradeOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, Index, text

from service.db.catalogue import RECORD
from service.migrations.concurrent import BuildIndex
from service.migrations.opclasses import INSTALLED, needed
from service.migrations.recording import EXISTS

BROUGHT = text(f"""
SELECT DISTINCT e.extname::text FROM {RECORD} r
JOIN pg_class t ON t.relname = r.table_name AND t.relnamespace::regnamespace = to_regnamespace(quote_ident(r.table_schema))
JOIN pg_index i ON i.indrelid = t.oid
JOIN pg_class x ON x.oid = i.indexrelid AND x.relname = r.index_name
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
JOIN pg_depend b ON b.classid = d.refclassid AND b.objid = d.refobjid AND b.deptype = 'e'
JOIN pg_extension e ON e.oid = b.refobjid
""")


class CreateExtension(MigrateOperation):
    """Create an extension, unless the database has it.

    Attributes:
        name: the extension's name.
        lacking: whether the database that autogenerate looked at lacks it.
    """

    def __init__(self, name: str, *, lacking: bool = True) -> None:
        self.name, self.lacking = name, lacking

    def reverse(self) -> MigrateOperation:
        """Going back leaves it."""
        return KeepExtension(self.name)

    def to_diff_tuple(self) -> tuple[str, str]:
        """What `alembic check` prints."""
        return ("add_extension" if self.lacking else "use_extension", self.name)


class KeepExtension(CreateExtension):
    """The way back: a comment in the migration, and nothing done."""

    def reverse(self) -> MigrateOperation:
        """The way forward."""
        return CreateExtension(self.name)


@Operations.implementation_for(CreateExtension)
def _create(operations: Operations, operation: CreateExtension) -> None:
    quote = operations.get_context().dialect.identifier_preparer.quote
    operations.execute(f"CREATE EXTENSION IF NOT EXISTS {quote(operation.name)}")


@renderers.dispatch_for(CreateExtension)
def _render_create(_: AutogenContext, operation: CreateExtension) -> str:
    return f"op.create_extension({operation.name!r})"


@renderers.dispatch_for(KeepExtension)
def _render_keep(_: AutogenContext, operation: KeepExtension) -> str:
    return f"# The extension {operation.name} stays: it may have been there before, and others may use it."


def _compare(context: AutogenContext, upgrade: UpgradeOps, _: set[str | None]) -> PriorityDispatchResult:
    """After the tables: what a new index needs is written even if this database has it, because another may not.

    If an index of ours needs it already, all databases have it.
    """
    if context.connection is None:
        return PriorityDispatchResult.CONTINUE
    installed = set(context.connection.scalars(INSTALLED))
    lacking = needed(index for table in context.sorted_tables for index in table.indexes) - installed
    used = (needed(_created(upgrade.ops)) | _built(upgrade.ops)) - _brought(context.connection)
    upgrade.ops[:0] = [CreateExtension(name, lacking=name in lacking) for name in sorted(lacking | used)]
    return PriorityDispatchResult.CONTINUE


def _brought(connection: Connection) -> set[str]:
    """The extensions that a revision has brought: indexes of ours stand that depend on them."""
    return set(connection.scalars(BROUGHT)) if connection.scalar(EXISTS, {"name": RECORD}) else set()


def _built(operations: Iterable[MigrateOperation]) -> set[str]:
    """What PostgreSQL itself says that indexes of tables in use depend on."""
    found: set[str] = set()
    for operation in operations:
        if isinstance(operation, OpContainer):
            found |= _built(operation.ops)
        elif isinstance(operation, BuildIndex):
            found |= operation.index.extensions
    return found


def _created(operations: Iterable[MigrateOperation]) -> Iterator[Index]:
    for operation in operations:
        if isinstance(operation, OpContainer):
            yield from _created(operation.ops)
        elif isinstance(operation, CreateIndexOp):
            yield operation.to_index()


plugin = Plugin("shelfmark.extensions")
plugin.add_autogenerate_comparator(_compare, "schema", "extensions", priority=DispatchPriority.LAST)
