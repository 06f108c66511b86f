"""What is to be told of a write, kept in the transaction of the write itself: it is there exactly if the write is.

Each row names a subject, `books/7`, and what happened to it. Who wants to be told is registered by name, for all tables or for
some; of what nobody wants to know nothing is written. Rows get their numbers when they are handed on (`feed.py`), since
transactions commit in another order than they begin.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Table, Text, cast, func, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import CTE

from service.db.model import Model
from service.db.nudging import Nudge
from service.db.rendering import constant

What = Literal["created", "changed", "deleted"]

outbox = Table(
    "shelfmark_outbox",
    Model.metadata,
    Column("id", BigInteger, Identity(), primary_key=True, comment="in no particular order: transactions overtake each other"),
    Column("number", BigInteger, comment="the order in which rows are handed on; NULL until then"),
    Column("subject", Text, nullable=False, comment="what it is about, as books/7"),
    Column("what", Text, nullable=False, comment="what happened to it"),
    Column("content", JSONB, nullable=False, server_default="{}"),
    Column("noted_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
Index("ix_shelfmark_outbox_fresh", outbox.c.id, postgresql_where=outbox.c.number.is_(None))
Index("ix_shelfmark_outbox_number", outbox.c.number)


@dataclass(frozen=True, slots=True)
class Note:
    """What happened to a row.

    Attributes:
        table: its name.
        key: the row's primary key.
    """

    table: str
    key: Any
    what: What

    @property
    def subject(self) -> str:
        """As the outbox has it."""
        return f"{self.table}/{self.key}"


class Outbox:
    """Who wants to be told of writes.

    Attributes:
        consumers: name -> the tables of whose rows they want to know; None: of all.
        nudge: wakes who hands notes on, once they are committed; coalesced, and no promise: a sweep finds them anyway.
    """

    def __init__(self) -> None:
        self.consumers: dict[str, frozenset[str] | None] = {}
        self.nudge = Nudge()

    def wants(self, table: str) -> bool:
        """Whether anybody is to be told of a table's rows."""
        return any(tables is None or table in tables for tables in self.consumers.values())

    def register(self, consumer: str, tables: Iterable[str] | None = None) -> None:
        """Tell a consumer of all that is written from now on, or of what is written to some tables."""
        self.consumers[consumer] = None if tables is None else frozenset(tables)

    async def write(self, session: AsyncSession, notes: Sequence[Note]) -> bool:
        """Keep the notes that somebody wants, in one statement; whether there were any."""
        wanted = [{"subject": note.subject, "what": note.what} for note in dict.fromkeys(notes) if self.wants(note.table)]
        if wanted:
            await session.execute(insert(outbox), wanted)
        return bool(wanted)


def noted(written: CTE, table: str, what: What) -> CTE:
    """The part of a statement that notes what another part of it writes.

    Args:
        written: gives the primary keys of the rows as `key`.
        table: the rows' own.
        what: what happens to them.
    """
    subject = constant(f"{table}/").concat(cast(written.c.key, Text))
    rows = select(subject, constant(what)).select_from(written)
    return insert(outbox).from_select(["subject", "what"], rows).cte("noted")
