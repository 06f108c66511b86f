"""What is to be told of a write, kept in the transaction of the write itself: it is there exactly if the write is.

Each row names a subject, `books/7`, and what happened to it. Who wants to be told is registered by name; as long as nobody is,
nothing is written. Rows get their numbers when they are handed on, since transactions commit in another order than they begin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BigInteger, Column, DateTime, Identity, Table, Text, cast, func, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import CTE

from service.db.model import Model
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
        consumers: their names.
    """

    def __init__(self) -> None:
        self.consumers: set[str] = set()

    def __bool__(self) -> bool:
        """Whether there is anybody to be told."""
        return bool(self.consumers)

    def register(self, consumer: str) -> None:
        """Tell a consumer of all that is written from now on."""
        self.consumers.add(consumer)

    async def write(self, session: AsyncSession, notes: Sequence[Note]) -> None:
        """Keep notes, in one statement; none where nobody wants them."""
        if self.consumers and notes:
            await session.execute(insert(outbox), [{"subject": note.subject, "what": note.what} for note in dict.fromkeys(notes)])


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
