"""Which indexes our migrations have made: each is noted by name, in the transaction of the revision that made it.

Autogenerate removes an index that no model has only if it is ours. Those that models have are recorded anyway (`recording.py`); a
database that is made anew by all migrations also gets indexes that no model has any more, and those are ours as well.
"""

from typing import Any

from alembic.operations import Operations
from alembic.operations.ops import CreateIndexOp
from alembic.operations.toimpl import create_index
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from service.db.catalogue import RECORD
from service.migrations import recording
from service.migrations.definitions import standing
from service.migrations.places import Place

MADE = "shelfmark_made"
"""The option of Alembic's context under which a revision's indexes are kept until it ends."""
BY = "a migration"
CLAIM = text(f"""
INSERT INTO {RECORD} (fingerprint, index_name, table_schema, table_name, is_unique, words, model)
VALUES (CAST(:by AS text) || ' of ' || coalesce(CAST(:schema AS text), current_schema()), :name,
        coalesce(CAST(:schema AS text), current_schema()), :table, :unique, :words, :by)
ON CONFLICT DO NOTHING
""")


def claim(context: MigrationContext, place: Place, name: str) -> None:
    """Remember that the running revision has made an index."""
    context.opts.setdefault(MADE, []).append((place, name))


def noted(*, ctx: MigrationContext, **_: Any) -> None:
    """Note the indexes of a revision that is about to be committed: Alembic's `on_version_apply`.

    Raises:
        DBAPIError: the role may not create a table, or not write this one.
    """
    made = ctx.opts.pop(MADE, [])
    if ctx.as_sql or ctx.connection is None or not made:
        return
    if not ctx.connection.scalar(recording.EXISTS, {"name": RECORD}):
        recording.create(ctx.connection)
    for place, name in made:
        index = standing(ctx.connection, place.table, place.schema).get(name)
        if index is not None:
            words = {"unique": index.definition.unique, "words": index.definition.words}
            values = {"by": BY, "schema": place.schema, "table": place.table, "name": name, **words}
            ctx.connection.execute(CLAIM, values)


@Operations.implementation_for(CreateIndexOp, replace=True)
def _create(operations: Operations, operation: CreateIndexOp) -> None:
    """As Alembic does it, and remembered."""
    create_index(operations, operation)
    if operation.index_name is not None:
        claim(operations.get_context(), Place(operation.table_name, operation.schema), str(operation.index_name))
