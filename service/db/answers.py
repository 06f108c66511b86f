"""Answers that were given to requests with an idempotency key: kept in the transaction of the write that they tell of.

A row is there exactly if the write is: a request that is sent again finds it, and nothing is done twice. Rows live for a day; each
new one takes up to two old ones with it, so the table holds about a day's worth and needs nobody to sweep it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Column, DateTime, Index, LargeBinary, SmallInteger, Table, bindparam, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from service.db.model import Model

HOURS = 24
ID_BYTES = 32

answers = Table(
    "shelfmark_answers",
    Model.metadata,
    Column("id", LargeBinary, primary_key=True, comment="hash of who asked, of what, and under which idempotency key"),
    Column("asked", LargeBinary, nullable=False, comment="hash of the request"),
    Column("status", SmallInteger, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("answered_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
Index("ix_shelfmark_answers_answered_at", answers.c.answered_at)

# The transaction's end releases it. The lock is one of 64 bits: two keys that share one only wait for each other's end.
LOCK = text("SELECT pg_try_advisory_xact_lock(:number)")
FIND = text(
    "SELECT asked, status, headers, body FROM shelfmark_answers"
    f" WHERE id = :id AND answered_at > clock_timestamp() - interval '{HOURS} hours'"
)
KEEP = text(f"""
WITH old AS (
    DELETE FROM shelfmark_answers WHERE id IN (
        SELECT id FROM shelfmark_answers
        WHERE answered_at < clock_timestamp() - interval '{HOURS} hours' AND id <> :id
        ORDER BY answered_at LIMIT 2 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO shelfmark_answers (id, asked, status, headers, body) VALUES (:id, :asked, :status, :headers, :body)
ON CONFLICT (id) DO UPDATE SET asked = excluded.asked, status = excluded.status, headers = excluded.headers,
    body = excluded.body, answered_at = excluded.answered_at
""").bindparams(bindparam("headers", type_=JSONB))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with.

    Attributes:
        asked: hash of the request, by which the same key under another request is told apart.
        headers: those that belong to the answer itself: its media type, its Location.
    """

    asked: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes


async def lock(session: AsyncSession, identity: bytes) -> bool:
    """Take the lock of an idempotency key for the rest of the transaction; False where another transaction has it.

    Args:
        session: of the unit of work that is going to write.
        identity: 32 bytes, the hash of who asked, of what, and under which key.
    """
    number = int.from_bytes(identity[:8], signed=True)
    return bool(await session.scalar(LOCK, {"number": number}))


async def find(session: AsyncSession, identity: bytes) -> Answer | None:
    """The answer that was kept within the last day."""
    row = (await session.execute(FIND, {"id": identity})).one_or_none()
    return None if row is None else Answer(*row)


async def keep(session: AsyncSession, identity: bytes, answer: Answer) -> None:
    """Keep an answer, in the transaction of what it tells."""
    values = {"id": identity, "asked": answer.asked, "status": answer.status, "headers": dict(answer.headers), "body": answer.body}
    await session.execute(KEEP, values)
