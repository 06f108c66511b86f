"""Which tables of the database autogenerate may touch.

A database may hold tables of other people. Autogenerate compares the tables of the models, and drops a table only when it
carries the trigger of the row version: only migrations of ours put it there, so it is a mark that needs no history to be
read. A table without models and without the mark is left alone; to drop one, write `op.drop_table` by hand.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, MetaData, text

from service.db.catalogue import RECORD
from service.migrations.rowversion import NAME

log = logging.getLogger(__name__)

MARKED = text("""
SELECT nullif(n.nspname, current_schema()), c.relname
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgname = :name AND p.proname = :name AND NOT t.tgisinternal AND t.tgparentid = 0
""")

IncludeName = Callable[[str | None, str, Mapping[str, Any]], bool]


def only_ours(connection: Connection, metadata: MetaData) -> IncludeName:
    """Alembic's `include_name`: the schemas of the models, their tables, and tables that a migration of ours made."""
    default = connection.dialect.default_schema_name
    modelled = {(_unless(table.schema, default), table.name) for table in metadata.tables.values()}
    schemas = {None} | {schema for schema, _ in modelled}

    def include(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
        if kind == "schema":
            return name in schemas
        if kind == "index":  # those of a model's table are compared in another way: `comparing.py`
            return (_unless(parents.get("schema_name"), default), parents.get("table_name")) not in modelled
        if kind != "table":
            return True
        table = (_unless(parents.get("schema_name"), default), name)
        if table in modelled or table in _marked(connection):
            return True
        if name == RECORD:
            return False
        log.info("table %s is left alone: no model describes it, and no migration of ours made it", name)
        return False

    return include


def _marked(connection: Connection) -> set[tuple[str | None, str]]:
    return {(schema, table) for schema, table in connection.execute(MARKED, {"name": NAME})}


def _unless(schema: str | None, default: str | None) -> str | None:
    return None if schema == default else schema
