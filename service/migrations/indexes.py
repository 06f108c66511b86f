"""Indexes, compared as PostgreSQL writes them, where Alembic thinks that one has changed.

Alembic compares expressions as text: for an index on `lower(title COLLATE "default") COLLATE "C"` it would drop and create the same
index for ever. Here PostgreSQL builds the model's index on an empty temporary copy of the table, which is rolled back; where it
writes both definitions alike, the two operations are taken back.
"""

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import CreateIndexOp, DropIndexOp, ModifyTableOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Column, ColumnElement, Connection, Index, MetaData, Table, text
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.visitors import iterate

# What stands before USING names the schema, which differs; whether the index is unique stands there too.
DEFINITION = text("""
SELECT i.indisunique, split_part(pg_get_indexdef(i.indexrelid), ' USING ', 2)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = :name AND n.nspname = coalesce(CAST(:schema AS text), current_schema())
""")
TEMPORARY_SCHEMA = text("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()")


def _take_back(  # noqa: PLR0917  (Alembic calls by position)
    context: AutogenContext,
    changes: ModifyTableOps,
    schema: str | None,
    name: str,  # noqa: ARG001  (Alembic calls by position)
    live: Table | None,
    modelled: Table | None,
) -> PriorityDispatchResult:
    if context.connection is None or live is None or modelled is None:
        return PriorityDispatchResult.CONTINUE
    dropped = {change.index_name for change in changes.ops if isinstance(change, DropIndexOp)}
    created = {change.index_name for change in changes.ops if isinstance(change, CreateIndexOp)}
    alike = {
        index.name
        for index in modelled.indexes
        if index.name in dropped & created
        and _columns(index) <= set(live.c.keys())
        and _alike(context.connection, schema, live, modelled, index)
    }
    changes.ops[:] = [
        change for change in changes.ops if not (isinstance(change, DropIndexOp | CreateIndexOp) and change.index_name in alike)
    ]
    return PriorityDispatchResult.CONTINUE


def _columns(index: Index) -> set[str]:
    """The columns that an index names, also inside of its expressions: a new one isn't in the live table yet."""
    expressions = (expression for expression in index.expressions if isinstance(expression, ColumnElement))
    return {part.name for expression in expressions for part in iterate(expression) if isinstance(part, Column)}


def _alike(connection: Connection, schema: str | None, live: Table, modelled: Table, index: Index) -> bool:
    standing = connection.execute(DEFINITION, {"name": index.name, "schema": schema}).one()
    copy = modelled.to_metadata(MetaData(), schema="pg_temp")
    quote = connection.dialect.identifier_preparer.format_table
    savepoint = connection.begin_nested()
    try:
        connection.execute(text(f"CREATE TEMPORARY TABLE {quote(copy, use_schema=False)} (LIKE {quote(live)} INCLUDING GENERATED)"))
        for candidate in copy.indexes:
            if candidate.name == index.name:
                connection.execute(CreateIndex(candidate))
        temporary = connection.scalar(TEMPORARY_SCHEMA)
        return connection.execute(DEFINITION, {"name": index.name, "schema": temporary}).one() == standing
    finally:
        savepoint.rollback()


plugin = Plugin("shelfmark.indexes")
plugin.add_autogenerate_comparator(_take_back, "table", "index_definitions", qualifier="postgresql", priority=DispatchPriority.LAST)
