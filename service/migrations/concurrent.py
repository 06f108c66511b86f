"""The operations on indexes of tables that are in use: build, remove, rename, each without holding up reads or writes.

They say an index in PostgreSQL's own words, so a migration shows exactly what will stand. Each runs outside of any transaction, and
may be run again at any time, above all after it was broken off: see `building.py`. As SQL for a file: `scripting.py`.
"""

from dataclasses import replace

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations

from service.migrations import building, scripting
from service.migrations.claiming import claim
from service.migrations.definitions import Definition, Standing
from service.migrations.places import Place, call


class IndexOperation(MigrateOperation):
    """Something done to an index of a table that is in use.

    Attributes:
        name: what the index is called, afterwards if not before.
    """

    def __init__(self, name: str, table: str, *, schema: str | None = None) -> None:
        self.name, self.table, self.schema = name, table, schema

    @property
    def place(self) -> Place:
        """Where the index belongs."""
        return Place(self.table, self.schema)


class BuildIndex(IndexOperation):
    """Build an index that is missing, that should be another, or that is INVALID.

    Attributes:
        index: what will stand.
        replaces: what stands under this name.
    """

    def __init__(self, index: Standing, table: str, *, schema: str | None = None, replaces: Standing | None = None) -> None:
        super().__init__(index.name, table, schema=schema)
        self.index, self.replaces = index, replaces

    def reverse(self) -> MigrateOperation:
        """Build what stood before. A repair is repeated instead: the revisions before it want the same index."""
        if self.replaces is None:
            return RemoveIndex(self.name, self.table, schema=self.schema, was=self.index)
        return BuildIndex(replace(self.replaces, valid=True), self.table, schema=self.schema, replaces=self.index)

    def to_diff_tuple(self) -> tuple[str | None, ...]:
        """What `alembic check` prints."""
        place, new = (self.schema, self.table, self.name), self.index.definition
        if self.replaces is None:
            return ("missing_index", *place, str(new))
        if self.replaces.definition == new:
            return ("broken_index", *place)
        return ("changed_index", *place, str(self.replaces.definition), str(new))


class RemoveIndex(IndexOperation):
    """Remove an index.

    Attributes:
        was: what stands; None for what a migration left behind that was broken off.
    """

    def __init__(self, name: str, table: str, *, schema: str | None = None, was: Standing | None = None) -> None:
        super().__init__(name, table, schema=schema)
        self.was = was

    def reverse(self) -> MigrateOperation:
        """Build it again. Nobody wants back what was left behind."""
        if self.was is None:
            return self
        return BuildIndex(replace(self.was, valid=True), self.table, schema=self.schema)

    def to_diff_tuple(self) -> tuple[str | None, ...]:
        """What `alembic check` prints."""
        return ("leftover_index" if self.was is None else "unwanted_index", self.schema, self.table, self.name)


class RenameIndex(IndexOperation):
    """Give an index another name; if another one has that name, the two change names.

    Attributes:
        old: its name so far.
        definition: what tells the two apart. None: whatever is called so.
    """

    def __init__(self, old: str, name: str, table: str, *, definition: Definition | None = None, schema: str | None = None) -> None:
        super().__init__(name, table, schema=schema)
        self.old, self.definition = old, definition

    def reverse(self) -> MigrateOperation:
        """Give the name back."""
        return RenameIndex(self.name, self.old, self.table, definition=self.definition, schema=self.schema)

    def to_diff_tuple(self) -> tuple[str | None, ...]:
        """What `alembic check` prints."""
        return ("renamed_index", self.schema, self.table, self.old, self.name)


@Operations.implementation_for(BuildIndex)
def _build(operations: Operations, operation: BuildIndex) -> None:
    context = operations.get_context()
    if context.as_sql:
        scripting.build(context, operation.place, operation.name, operation.index.definition)
    else:
        building.build(context, operation.place, operation.name, operation.index.definition)
    claim(context, operation.place, operation.name)


@Operations.implementation_for(RemoveIndex)
def _remove(operations: Operations, operation: RemoveIndex) -> None:
    context = operations.get_context()
    if context.as_sql:
        scripting.remove(context, operation.place, operation.name)
    else:
        building.remove(context, operation.place, operation.name)


@Operations.implementation_for(RenameIndex)
def _rename(operations: Operations, operation: RenameIndex) -> None:
    context = operations.get_context()
    if context.as_sql:
        scripting.rename(context, operation.place, operation.old, operation.name, operation.definition)
    else:
        building.rename(context, operation.place, operation.old, operation.name, operation.definition)
    claim(context, operation.place, operation.name)


@renderers.dispatch_for(BuildIndex)
def _render_build(_: AutogenContext, operation: BuildIndex) -> str:
    return call("build_index", operation.place, operation.name, definition=operation.index.definition)


@renderers.dispatch_for(RemoveIndex)
def _render_remove(_: AutogenContext, operation: RemoveIndex) -> str:
    return call("remove_index", operation.place, operation.name)


@renderers.dispatch_for(RenameIndex)
def _render_rename(_: AutogenContext, operation: RenameIndex) -> str:
    return call("rename_index", operation.place, operation.old, operation.name, definition=operation.definition)
