"""Extensions that an index needs: known by the operator class that it names, created before the first operation."""

from collections.abc import Iterable, Iterator

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import CreateIndexOp, OpContainer, UpgradeOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Index, text

EXTENSION_OF = {
    "gin_trgm_ops": "pg_trgm",
    "gist_trgm_ops": "pg_trgm",
    "gin_hstore_ops": "hstore",
    "gist_hstore_ops": "hstore",
    "gin__int_ops": "intarray",
    "gist__int_ops": "intarray",
    "gist_ltree_ops": "ltree",
    "gist__ltree_ops": "ltree",
}
INSTALLED = text("SELECT extname::text FROM pg_extension")


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


def needed(indexes: Iterable[Index]) -> set[str]:
    """The extensions whose operator classes the indexes name."""
    classes = {opclass for index in indexes for opclass in (index.dialect_options["postgresql"]["ops"] or {}).values()}
    return {EXTENSION_OF[opclass] for opclass in classes if opclass in EXTENSION_OF}


def _compare(context: AutogenContext, upgrade: UpgradeOps, _: set[str | None]) -> PriorityDispatchResult:
    """After the tables: what a new index needs is written even if this database has it, because another may not."""
    if context.connection is None:
        return PriorityDispatchResult.CONTINUE
    installed = set(context.connection.scalars(INSTALLED))
    lacking = needed(index for table in context.sorted_tables for index in table.indexes) - installed
    used = needed(_created(upgrade.ops))
    upgrade.ops[:0] = [CreateExtension(name, lacking=name in lacking) for name in sorted(lacking | used)]
    return PriorityDispatchResult.CONTINUE


def _created(operations: Iterable[MigrateOperation]) -> Iterator[Index]:
    for operation in operations:
        if isinstance(operation, OpContainer):
            yield from _created(operation.ops)
        elif isinstance(operation, CreateIndexOp):
            yield operation.to_index()


plugin = Plugin("shelfmark.extensions")
plugin.add_autogenerate_comparator(_compare, "schema", "extensions", priority=DispatchPriority.LAST)
