"""The indexes of a table that is dropped: they go with it, and on the way back they are built again in PostgreSQL's own words.

The table comes back empty, in the transaction of its revision, so they are built there and then.
"""

from collections.abc import Iterable, Iterator

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import DropIndexOp

from service.migrations.claiming import claim
from service.migrations.definitions import Standing
from service.migrations.places import Place, call


class RestoreIndex(MigrateOperation):
    """Build an index of a table that was made in the same transaction."""

    def __init__(self, index: Standing, place: Place) -> None:
        self.index, self.place = index, place

    def reverse(self) -> MigrateOperation:
        """It goes with the table."""
        return LoseIndex(self.index, self.place)

    def to_diff_tuple(self) -> tuple[str | None, ...]:
        """What `alembic check` prints."""
        return ("missing_index", self.place.schema, self.place.table, self.index.name, str(self.index.definition))


class LoseIndex(RestoreIndex):
    """Leave an index to the dropping of its table."""

    def reverse(self) -> MigrateOperation:
        """Build it, once the table is back."""
        return RestoreIndex(self.index, self.place)

    def to_diff_tuple(self) -> tuple[str | None, ...]:
        """What `alembic check` prints."""
        return ("unwanted_index", self.place.schema, self.place.table, self.index.name)


def restored(changes: Iterable[MigrateOperation], stands: Iterable[Standing], place: Place) -> Iterator[MigrateOperation]:
    """What Alembic found about a table that goes, with its indexes as they really stand."""
    yield from (LoseIndex(index, place) for index in stands if index.valid and not index.of_constraint)
    yield from (change for change in changes if not isinstance(change, DropIndexOp))


@Operations.implementation_for(RestoreIndex)
def _restore(operations: Operations, operation: RestoreIndex) -> None:
    context, place, index = operations.get_context(), operation.place, operation.index
    statement = place.creation(index.name, index.definition)
    if context.as_sql:
        context.impl.static_output(f"{statement};")
    else:
        operations.get_bind().exec_driver_sql(statement)
    claim(context, place, index.name)


@renderers.dispatch_for(RestoreIndex)
def _render_restore(_: AutogenContext, operation: RestoreIndex) -> str:
    return call("restore_index", operation.place, operation.index.name, definition=operation.index.definition)


@renderers.dispatch_for(LoseIndex)
def _render_lose(_: AutogenContext, __: LoseIndex) -> list[str]:
    return []
