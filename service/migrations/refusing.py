"""When an operation on an index is refused, and in which words: before anything is done, or with all as it was."""

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from service.errors import SetupError
from service.migrations.definitions import Definition, Standing, partitioned, rewritten, standing, unbuildable
from service.migrations.failures import said
from service.migrations.places import Place

OUTER = "shelfmark_outer_transaction"
"""The option of Alembic's context that says: a transaction of the caller's was open before."""
# Alembic makes its own table in the transaction of the first revision: that alone is no change.
WROTE = text("""
SELECT pg_current_xact_id_if_assigned() IS NOT NULL AND NOT EXISTS (
  SELECT FROM pg_class WHERE relname = :version AND xmin = CAST(pg_current_xact_id_if_assigned() AS xid))
""")
EXISTS = text("SELECT to_regclass(:name) IS NOT NULL")
RESTING = text("""
SELECT CASE WHEN i.indisreplident THEN 'the replica identity of ' || i.indrelid::regclass
            ELSE 'the foreign key ' || f.conname || ' of ' || f.conrelid::regclass END
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
LEFT JOIN pg_constraint f ON f.conindid = i.indexrelid AND f.contype = 'f'
WHERE i.indrelid = to_regclass(:table) AND x.relname = :name AND (i.indisreplident OR f.oid IS NOT NULL)
LIMIT 1
""")
UNIQUE_VIOLATION, NO_RIGHT = "23505", "42501"
NO_SCHEMA = "3F"
OF_THE_INDEX = ("0A", "22", NO_SCHEMA, "42")
OF_THE_ROWS = ("0A", "22", "23", NO_SCHEMA, "42", "54")
PARTITIONED = (
    "{table} is partitioned, and PostgreSQL neither builds nor drops an index ({name}) of such a table CONCURRENTLY. Write a "
    "revision by hand: to build, op.execute('CREATE INDEX {name} ON ONLY {table} ...'), an index CONCURRENTLY on each partition, "
    "and ALTER INDEX {name} ATTACH PARTITION for each; to drop, op.execute('DROP INDEX {name}')."
)


def mixed(context: MigrationContext, call: str) -> None:
    """Refuse to leave a transaction that has changed something: what comes before would stand if what comes after fails.

    Raises:
        SetupError: it has.
    """
    if context.connection is None or context.opts.get(OUTER):
        return
    if context.connection.scalar(WROTE, {"version": context.version_table}):
        raise SetupError(
            f"The revision changes something else before op.{call}, which can't run inside a transaction. Nothing of it was done. "
            "Give the operations on indexes a revision of their own, after this one, as autogenerate does."
        )


def covered(context: MigrationContext, place: Place, column: str) -> None:
    """Refuse to drop a column while an index covers it. Written as SQL for a file, nothing can be looked at.

    Raises:
        SetupError: one does.
    """
    if context.as_sql or context.connection is None:
        return
    stands = standing(context.connection, place.table, place.schema)
    for name in sorted(name for name, index in stands.items() if column in index.columns and not index.of_constraint):
        schema = f", schema={place.schema!r}" if place.schema else ""
        raise SetupError(
            f"The index {name} covers the column {column} of {place}, and would go with it while everybody waits. The column was "
            f"not dropped. Remove the index first, in a revision before: op.remove_index({name!r}, {str(place.table)!r}{schema})."
        )


def possible(connection: Connection, place: Place, name: str, definition: Definition) -> Definition:
    """The definition as this PostgreSQL writes it.

    Raises:
        SetupError: there is no such table, it is partitioned, or it can't have such an index.
    """
    if not connection.scalar(EXISTS, {"name": str(place)}):
        raise SetupError(f"There is no table {place} for the index {name}. Create it in a revision before this one.")
    divided(connection, place, name)
    try:
        return rewritten(connection, place.table, definition, place.schema)
    except DBAPIError as error:
        _tell(error, place.table, name, OF_THE_INDEX, "Nothing was changed.")
        raise


def divided(connection: Connection, place: Place, name: str) -> None:
    """Refuse a table whose rows are in its partitions.

    Raises:
        SetupError: it is one.
    """
    if partitioned(connection, place.table, place.schema):
        raise SetupError(PARTITIONED.format(table=place, name=name))


def failed(error: DBAPIError, place: Place, name: str) -> None:
    """Say why a build broke off, where the rows or the index are to blame.

    Raises:
        SetupError: they are.
    """
    if _state(error) == UNIQUE_VIOLATION:
        detail = getattr(error.orig and error.orig.__cause__, "detail", None) or f"{said(error.orig)}."
        raise SetupError(
            f"{place} has rows that the unique index {name} forbids: {detail} The index was not built; all stands as before. "
            "Mend the rows, then run this again."
        ) from error
    _tell(error, place.table, name, OF_THE_ROWS, "It was not built; all stands as before.")


def rested_on(connection: Connection, place: Place, name: str) -> None:
    """Refuse to touch an index that a constraint is made of, or that something else needs by its identity.

    Raises:
        SetupError: it is.
    """
    here = standing(connection, place.table, place.schema).get(name)
    if here is not None and here.of_constraint:
        raise SetupError(f"{name} is a constraint of {place}. Change it by op.drop_constraint and its like.")
    needs = connection.scalar(RESTING, {"table": str(place), "name": name})
    if needs:
        raise SetupError(
            f"{name} of {place} can't go: {needs} rests on it. Nothing was changed. Take that away in a revision before, and bring "
            "it back in one after."
        )


def meant(place: Place, old: str, new: str, source: Standing | None, target: Standing | None) -> Definition:
    """The definition of the one index that a renaming is about.

    Raises:
        SetupError: there are both indexes, or none of them, so it can't be told whether it has been done.
    """
    found = [one for one in (source, target) if one is not None]
    if len(found) == 1:
        return found[0].definition
    which = f"both {old} and {new}" if found else f"neither {old} nor {new}"
    raise SetupError(
        f"{place} has {which}, so it can't be told which index is meant. Nothing was changed. Say it: op.rename_index({old!r}, "
        f"{new!r}, {str(place.table)!r}, 'btree (...)')."
    )


def _tell(error: DBAPIError, table: str, name: str, states: tuple[str, ...], after: str) -> None:
    state = _state(error)
    if state.startswith(states) and state != NO_RIGHT:
        raise SetupError(f"{unbuildable(name, table, error)} {after}") from error


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""
