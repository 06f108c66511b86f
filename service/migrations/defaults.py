"""Server defaults, compared as PostgreSQL writes them.

Alembic asks the server whether the two defaults have equal *values*: that finds a difference between `gen_random_uuid()::text` and
itself, because each call gives another value. Here PostgreSQL writes the model's default down in its own way, on a temporary
table that is rolled back, and the two texts are compared.
"""

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AlterColumnOp
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Column, Connection, DefaultClause, MetaData, Table, TextClause, text
from sqlalchemy.schema import CreateTable

PROBE = "shelfmark_default_probe"
WRITTEN = text(f"SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'pg_temp.{PROBE}'::regclass")


def _compare(
    context: AutogenContext,
    change: AlterColumnOp,
    _schema: str | None,
    _table: str,
    _column: str,
    live: Column[Any],
    modelled: Column[Any],
) -> PriorityDispatchResult:
    """Only where both sides have a default: the rest Alembic sees right by itself."""
    here, there = live.server_default, modelled.server_default
    if context.connection is None or not (isinstance(here, DefaultClause) and isinstance(there, DefaultClause)):
        return PriorityDispatchResult.CONTINUE
    change.existing_server_default = here
    if isinstance(here.arg, TextClause) and here.arg.text != _written(context.connection, modelled):
        change.modify_server_default = there
    return PriorityDispatchResult.STOP


def _written(connection: Connection, modelled: Column[Any]) -> str | None:
    """The default of a column of the models, as PostgreSQL would keep it."""
    column: Column[Any] = Column("probe", modelled.type, server_default=modelled.server_default)
    probe = Table(PROBE, MetaData(), column, prefixes=["TEMPORARY"])
    savepoint = connection.begin_nested()
    try:
        connection.execute(CreateTable(probe))
        written: str | None = connection.scalar(WRITTEN)
        return written
    finally:
        savepoint.rollback()


plugin = Plugin("shelfmark.defaults")
plugin.add_autogenerate_comparator(_compare, "column", "server_default", qualifier="postgresql", priority=DispatchPriority.FIRST)
