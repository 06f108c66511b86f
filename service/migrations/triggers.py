"""Autogenerate for the row version: compare what PostgreSQL says of its function and triggers, and write what mends them."""

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import ModifyTableOps, UpgradeOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, Table, text

from service.migrations.rowversion import (
    BODY,
    NAME,
    CreateRowVersion,
    CreateRowVersionFunction,
    DropRowVersion,
    DropRowVersionFunction,
    definition,
    generated_columns,
    keeps_version,
)

FUNCTION = text("""
SELECT p.prosrc, l.lanname::text, p.prosecdef, p.proconfig
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = :name AND n.nspname = current_schema() AND p.pronargs = 0
""")
RIGHT_FUNCTION = (BODY, "plpgsql", False, None)

# tgtype 19: a row trigger, before, on update. The table's name is cut out of the definition, which may name any schema; so may
# the function's, which is therefore compared by its identity.
TRIGGER = text("""
SELECT t.tgenabled IN ('O', 'A') AND t.tgtype = 19 AND cardinality(t.tgattr::int2[]) = 0
       AND p.proname = :name AND home.nspname = current_schema(),
       split_part(pg_get_triggerdef(t.oid), ' FOR EACH ROW ', 2)
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace home ON home.oid = p.pronamespace
WHERE t.tgname = :name AND c.relname = :table AND n.nspname = coalesce(CAST(:schema AS text), current_schema())
""")


def _connection(context: AutogenContext) -> Connection:
    if context.connection is None:
        raise TypeError("autogenerate needs a connection")
    return context.connection


def _compare_function(context: AutogenContext, upgrade: UpgradeOps, _: set[str | None]) -> PriorityDispatchResult:
    """Before any table: the triggers need it."""
    found = _connection(context).execute(FUNCTION, {"name": NAME}).one_or_none()
    if any(keeps_version(table) for table in context.sorted_tables) and found != RIGHT_FUNCTION:
        upgrade.ops.append(CreateRowVersionFunction(replaces=found is not None))
    return PriorityDispatchResult.CONTINUE


def _compare_unused_function(context: AutogenContext, upgrade: UpgradeOps, _: set[str | None]) -> PriorityDispatchResult:
    """After all tables: the last trigger goes first."""
    wanted = any(keeps_version(table) for table in context.sorted_tables)
    if not wanted and _connection(context).execute(FUNCTION, {"name": NAME}).one_or_none() is not None:
        upgrade.ops.append(DropRowVersionFunction())
    return PriorityDispatchResult.CONTINUE


def _compare_trigger(  # noqa: PLR0917  (Alembic calls by position)
    context: AutogenContext,
    changes: ModifyTableOps,
    schema: str | None,
    name: str,
    live: Table | None,
    modelled: Table | None,
) -> PriorityDispatchResult:
    found = _trigger(context, schema, name) if live is not None else None
    generated = generated_columns(modelled) if modelled is not None else ()
    if modelled is None or not keeps_version(modelled):
        if found is not None:
            changes.ops.append(DropRowVersion(name, schema=schema, generated=_generated_live(live)))
    elif found != (True, definition(generated)):
        changes.ops.append(CreateRowVersion(name, schema=schema, generated=generated, replaces=found is not None))
    return PriorityDispatchResult.CONTINUE


def _trigger(context: AutogenContext, schema: str | None, table: str) -> tuple[bool, str] | None:
    """Whether a table's trigger is in force and what it does; None where it has none."""
    found = _connection(context).execute(TRIGGER, {"name": NAME, "table": table, "schema": schema}).one_or_none()
    return None if found is None else (found[0], found[1])


def _generated_live(live: Table | None) -> tuple[str, ...]:
    return () if live is None else generated_columns(live)


@renderers.dispatch_for(CreateRowVersionFunction)
def _render_create_function(_: AutogenContext, __: CreateRowVersionFunction) -> str:
    return "op.create_row_version_function()"


@renderers.dispatch_for(DropRowVersionFunction)
def _render_drop_function(_: AutogenContext, __: DropRowVersionFunction) -> str:
    return "op.drop_row_version_function()"


@renderers.dispatch_for(CreateRowVersion)
def _render_create(_: AutogenContext, operation: CreateRowVersion) -> str:
    generated = f", generated={list(operation.generated)!r}" if operation.generated else ""
    return f"op.create_row_version({operation.table!r}{_schema(operation)}{generated})"


@renderers.dispatch_for(DropRowVersion)
def _render_drop(_: AutogenContext, operation: DropRowVersion) -> str:
    return f"op.drop_row_version({operation.table!r}{_schema(operation)})"


def _schema(operation: CreateRowVersion | DropRowVersion) -> str:
    return f", schema={operation.schema!r}" if operation.schema else ""


plugin = Plugin("shelfmark.row_version")
plugin.add_autogenerate_comparator(_compare_function, "schema", "row_version", priority=DispatchPriority.FIRST)
plugin.add_autogenerate_comparator(_compare_unused_function, "schema", "row_version", priority=DispatchPriority.LAST)
plugin.add_autogenerate_comparator(_compare_trigger, "table", "row_version", priority=DispatchPriority.LAST)
