"""What each index of the models is in PostgreSQL's words, recorded beside the model's own fingerprint.

A running service may only read, so it can't have PostgreSQL write a definition. The migrator can: it records here what a
fingerprint means, and the service compares that with what stands. Rows of older code stay, so that code finds its own after a
newer migration; they also tell which indexes of the database once came from a model.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType

from sqlalchemy import Connection, MetaData, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable

from service.db.catalogue import QUOTE, RECORD, fingerprint, keepers, name_of
from service.db.surface import DIALECT
from service.errors import SetupError
from service.migrations.definitions import written

log = logging.getLogger(__name__)

CREATE = f"""
CREATE TABLE IF NOT EXISTS {RECORD} (
    fingerprint text NOT NULL,
    index_name text NOT NULL,
    table_schema text NOT NULL,
    table_name text NOT NULL,
    is_unique boolean NOT NULL,
    words text NOT NULL,
    model text NOT NULL,
    server bigint NOT NULL DEFAULT current_setting('server_version_num')::bigint / 10000,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (fingerprint, index_name)
)
"""
# Default privileges may have given a serving role the right to write. Whoever connects may read pg_index already.
GRANTEES = text(f"""
SELECT DISTINCT quote_ident(pg_get_userbyid(a.grantee))
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
WHERE c.oid = CAST('{RECORD}' AS regclass) AND a.grantee NOT IN (0, c.relowner)
""")
READABLE = f"GRANT SELECT ON {RECORD} TO PUBLIC"
EXISTS = text("SELECT to_regclass(:name) IS NOT NULL")
EXISTING = text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NOT NULL")
KNOWN = text(f"""
SELECT fingerprint, index_name, model FROM {RECORD} WHERE server = current_setting('server_version_num')::bigint / 10000
""")
OURS = text(f"SELECT DISTINCT nullif(table_schema, current_schema()), index_name FROM {RECORD}")
WRITE = text(f"""
INSERT INTO {RECORD} AS r (fingerprint, index_name, table_schema, table_name, is_unique, words, model)
VALUES (:fingerprint, :index, coalesce(CAST(:schema AS text), current_schema()), :table, :unique, :words, :model)
ON CONFLICT (fingerprint, index_name) DO UPDATE SET
    table_schema = excluded.table_schema, table_name = excluded.table_name, is_unique = excluded.is_unique,
    words = excluded.words, model = excluded.model, server = excluded.server, recorded_at = excluded.recorded_at
""")
# A script is written without a server, so it can only take the word of what it has built; the next run online looks again.
SCRIPT = f"""
INSERT INTO {RECORD} (fingerprint, index_name, table_schema, table_name, is_unique, words, model)
SELECT w.fingerprint, w.index_name, n.nspname, t.relname, i.indisunique,
       substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)$'), 'a script'
FROM (VALUES
    {{values}}
) AS w (fingerprint, table_name, index_name)
JOIN pg_class t ON t.oid = to_regclass(w.table_name)
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_index i ON i.indrelid = t.oid AND i.indisvalid
JOIN pg_class x ON x.oid = i.indexrelid AND x.relname = w.index_name
ON CONFLICT DO NOTHING
"""


def record(connection: Connection, metadata: MetaData) -> None:
    """Record every index of the models whose table exists, where that isn't done yet.

    In a transaction of its own, or in the one that is open. No table but its own is locked.

    Raises:
        DBAPIError: the role may not create a table, or not write this one.
    """
    declared = {table: _declared(table) for table in metadata.sorted_tables}
    with _transaction(connection):
        existing = _existing(connection, declared)
        made = bool(connection.scalar(EXISTS, {"name": RECORD}))
        known = {(row[0], row[1], row[2]) for row in connection.execute(KNOWN)} if made else set()
        stale = {table: found for table, found in declared.items() if table in existing and not _known(table, found, known)}
        if stale and not made:
            create(connection)
        for table, found in stale.items():
            _write(connection, table, found)


def moves(context: ModuleType) -> bool:
    """Whether Alembic was asked to go to a revision, forward or back, and not only to look.

    Args:
        context: `alembic.context`, configured.
    """
    return "destination_rev" in context.get_context().opts


def recorded(connection: Connection) -> frozenset[tuple[str | None, str]]:
    """The schema (None: the default one) and name of every index that a model has, or once had."""
    if not connection.scalar(EXISTS, {"name": RECORD}):
        return frozenset()
    return frozenset((schema, name) for schema, name in connection.execute(OURS))


def script(metadata: MetaData) -> Iterator[str]:
    """The statements that record what a migration written as SQL has built."""
    values = [
        f"({', '.join(map(_literal, (found, QUOTE.format_table(table), name)))})"
        for table in metadata.sorted_tables
        for name, found in _declared(table).items()
    ]
    if values:
        yield CREATE.strip()
        yield READABLE
        yield SCRIPT.format(values=",\n    ".join(values)).strip()


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _declared(table: Table) -> dict[str, str]:
    """The fingerprints of a table's indexes, by the names that the database has for them."""
    return {name_of(keeper): fingerprint(keeper) for keeper in keepers(table).values()}


def _model(table: Table) -> str:
    """What tells one state of a model from another: words may change with a column's type."""
    indexes = sorted(str(CreateIndex(index).compile(dialect=DIALECT)) for index in table.indexes)
    return hashlib.sha256("\n".join([str(CreateTable(table).compile(dialect=DIALECT)), *indexes]).encode()).hexdigest()


def _known(table: Table, declared: Mapping[str, str], known: set[tuple[str, str, str]]) -> bool:
    model = _model(table)
    return all((found, name, model) in known for name, found in declared.items())


def _existing(connection: Connection, tables: Iterable[Table]) -> set[Table]:
    by_place = {QUOTE.format_table(table): table for table in tables}
    return {by_place[name] for name in connection.scalars(EXISTING, {"names": list(by_place)})}


def create(connection: Connection) -> None:
    """Create the table, if there is none; only who migrates may write it."""
    connection.exec_driver_sql(CREATE)
    for grantee in connection.scalars(GRANTEES).all():
        connection.exec_driver_sql(f"REVOKE ALL ON {RECORD} FROM {grantee}")
    connection.exec_driver_sql(READABLE)


def _write(connection: Connection, table: Table, declared: Mapping[str, str]) -> None:
    try:
        with connection.begin_nested():
            definitions = written(connection, table)
    except (SetupError, DBAPIError) as error:  # on the way to a revision that will make it possible
        log.warning("the indexes of %s can't be recorded yet, so a running service withdraws them: %s", table.name, error)
        return
    table_of, model = {"schema": table.schema, "table": table.name}, _model(table)
    rows = [
        {"fingerprint": found, "index": name, "unique": definitions[name].unique, "words": definitions[name].words, "model": model}
        for name, found in declared.items()
        if name in definitions
    ]
    if rows:
        connection.execute(WRITE, [row | table_of for row in rows])


def _transaction(connection: Connection) -> AbstractContextManager[object]:
    return nullcontext() if connection.in_transaction() else connection.begin()
