"""Where a file's rows wait before they are merged: temporary tables on the one connection that an import holds.

Temporary, not unlogged: they need no right to create tables, are no part of the schema that Alembic compares, write no WAL, and
are gone when the process is, however it ends. The price: an import that is resumed stages its file again, a quarter to a third of
the work of a whole one; and its connection can't come through a pooler in transaction mode.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    false,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateIndex, CreateTable

from service.jobs.shaping import Import
from service.jobs.validating import Row

COPY_SECONDS = 600.0
SESSION = {
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "temp_buffers": "64MB",
    "work_mem": "64MB",
    "jit": "off",
}

Reject = tuple[int, str]


class Staging:
    """The tables of one import: rows that may be merged, and lines that may not, with their reasons.

    Attributes:
        rows: the rows. Columns of the import's own begin with `import_`, so that a table may have a column `line`.
        rejects: line and reason.
        line: where a row's record begins.
        key: what tells a file's rows apart.
        written: the fields that the file gives; columns beyond them are left alone.
        hands: which row takes a value that which other one gives up, or keeps, with the reason if it does; empty but for a moment.
        moves: whether a row is merged before the others, because it takes a unique value that another one gives up.
    """

    def __init__(self, declared: Import, source: str) -> None:
        self.declared = declared
        self.source = source
        self.written: set[str] = set()
        own, string = MetaData(), Text(collation="C")
        extras = string if declared.extras is None else declared.table.columns[declared.extras.key].type
        self.rows = Table(
            "import_rows",
            own,
            Column("import_line", BigInteger),
            Column("import_key", string),
            *(Column(f"import_{reference.field}", string) for reference in declared.references),
            *(Column(column.name, column.type) for column in declared.columns),
            Column("import_extras", extras),
            Column("import_moves", Boolean, server_default=false(), nullable=False),
            prefixes=["TEMPORARY"],
        )
        self.rejects = Table("import_rejects", own, Column("line", BigInteger), Column("reason", Text), prefixes=["TEMPORARY"])
        self.hands = Table(
            "import_hands",
            own,
            Column("takes", BigInteger),
            Column("gives", BigInteger),
            Column("place", Integer),
            Column("reason", Text),
            prefixes=["TEMPORARY"],
        )
        self.line, self.key, self.moves = (self.rows.c[f"import_{name}"] for name in ("line", "key", "moves"))
        self._copied = [column.name for column in self.rows.columns if column is not self.moves]

    def identity(self, key: Any) -> dict[str, Any]:
        """The identifying columns of the row that a key means, by name."""
        declared = self.declared
        source = {} if declared.source is None else {declared.source.key: self.source}
        return {**source, declared.key.key: key}

    def means(self, key: ColumnElement[Any], table: Any) -> ColumnElement[bool]:
        """Whether a row of the table is the one that a staged key means."""
        return and_(*(table.c[name] == value for name, value in self.identity(key).items()))

    async def create(self, connection: AsyncConnection) -> None:
        """Make the tables, in a session set up for long work, and commit."""
        setting = text("SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :name")
        for name, value in SESSION.items():  # an older PostgreSQL lacks some of them
            await connection.execute(setting, {"name": name, "value": value})
        for table in (self.rows, self.rejects, self.hands):
            await connection.execute(CreateTable(table))
        await connection.execute(CreateIndex(Index("import_hands_by_giver", self.hands.c.gives)))
        await connection.commit()

    async def add(self, connection: AsyncConnection, rows: Sequence[Row], rejects: Sequence[Reject]) -> None:
        """Put rows and rejected lines into the tables."""
        raw = await connection.get_raw_connection()
        copy: Any = getattr(raw.driver_connection, "copy_records_to_table")  # noqa: B009 - asyncpg's, which has no types
        await copy(self.rows.name, records=rows, columns=self._copied, timeout=COPY_SECONDS)
        await copy(self.rejects.name, records=rejects, timeout=COPY_SECONDS)

    async def finish(self, connection: AsyncConnection) -> None:
        """Once all is there: what it takes to find rows by line, and to plan well. Commits."""
        await connection.execute(CreateIndex(Index("import_rows_by_line", self.line)))
        await connection.execute(text("ANALYZE import_rows (import_line, import_key, import_moves)"))
        await connection.commit()

    async def reject(self, connection: AsyncConnection, rejects: Sequence[Reject]) -> None:
        """Move rows to the rejected lines, one by one by line; those that are there stay as they are."""
        line, reason = bindparam("rejected", type_=BigInteger), bindparam("reason", type_=Text)
        there = select(line, reason).where(exists().where(self.line == line))
        found = [{"rejected": number, "reason": said} for number, said in rejects]
        await connection.execute(insert(self.rejects).from_select(["line", "reason"], there), found)
        await connection.execute(delete(self.rows).where(self.line == line), [{"rejected": number} for number, _ in rejects])

    async def rejected(self, connection: AsyncConnection) -> int:
        """How many lines are rejected."""
        return await connection.scalar(select(func.count()).select_from(self.rejects)) or 0

    async def drop_rejected(self, connection: AsyncConnection) -> None:
        """Take the rows away whose lines are rejected."""
        await connection.execute(delete(self.rows).where(self.line.in_(select(self.rejects.c.line))))
