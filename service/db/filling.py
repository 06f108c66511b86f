"""Tables without their indexes and foreign keys while they are filled: building each at the end, once, is several times quicker.

All of it belongs into one transaction: PostgreSQL's definitions are read, dropped, and put back as they were, or nothing happened.
Primary keys stay; rows come in their order.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

FOREIGN_KEYS = text("""
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY (CAST(:tables AS text[])::regclass[]) ORDER BY conrelid, conname
""")
INDEXES = text("""
    SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
    FROM pg_index WHERE indrelid = ANY (CAST(:tables AS text[])::regclass[])
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
    ORDER BY indrelid, indexrelid
""")
COUNTERS = text("""
    SELECT format('SELECT setval(%L, max(%I)) FROM %s', pg_get_serial_sequence(attrelid::regclass::text, attname), attname,
                  attrelid::regclass)
    FROM pg_attribute WHERE attidentity <> '' AND attrelid = ANY (CAST(:tables AS text[])::regclass[]) ORDER BY attrelid, attnum
""")


async def set_aside(connection: AsyncConnection, tables: Sequence[str]) -> list[str]:
    """Drop the foreign keys and indexes of tables.

    Args:
        connection: in the transaction that fills them.
        tables: their names.

    Returns:
        The statements that bring back all of it, indexes first.
    """
    found = [(await connection.execute(what, {"tables": _quoted(tables)})).all() for what in (FOREIGN_KEYS, INDEXES)]
    for drop, _ in (pair for kind in found for pair in kind):
        await connection.exec_driver_sql(drop)
    return [make for kind in reversed(found) for _, make in kind]


async def count_on(connection: AsyncConnection, tables: Sequence[str]) -> None:
    """Let identity columns go on after the highest number that was given by hand."""
    for (statement,) in (await connection.execute(COUNTERS, {"tables": _quoted(tables)})).all():
        await connection.exec_driver_sql(statement)


def _quoted(tables: Sequence[str]) -> list[str]:
    return ['"' + name.replace('"', '""') + '"' for name in tables]
