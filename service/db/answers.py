"""Answers that were given to requests with an idempotency key: kept in the transaction of the write that they tell of.

A row is there exactly if the write is: a request that is sent again finds it, and nothing is done twice. Rows live for a day; each
new one takes up to two old ones with it, so the table holds about a day's worth and needs nobody to sweep it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    exists,
    extract,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.selectable import CTE

from service.db.faults import driver_error
from service.db.model import Model
from service.db.rendering import constant

HOURS = 24
RUNNING = "The first request with this Idempotency-Key still runs. Send it again in a moment."
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
        WHERE answered_at < (SELECT clock_timestamp() - interval '{HOURS} hours') AND id <> :id
        ORDER BY answered_at LIMIT 2 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO shelfmark_answers (id, asked, status, headers, body) VALUES (:id, :asked, :status, :headers, :body)
ON CONFLICT (id) DO UPDATE SET asked = excluded.asked, status = excluded.status, headers = excluded.headers,
    body = excluded.body, answered_at = excluded.answered_at
""").bindparams(bindparam("headers", type_=JSONB))


IDENTITY, NUMBER, ASKED, PLACE, VIEW = "__identity", "__number", "__asked", "__place", "__view"
"""The names of what a statement takes that keeps its own answer: no column's."""
ROW_VERSION = "row-version"
"""Among an answer's headers, where it was kept by a statement: what its ETag is made of. Only the service can make one."""
MICROSECONDS: ColumnElement[Any] = literal_column("1000000")
A_DAY: ColumnElement[Any] = literal_column(f"interval '{HOURS} hours'")
CREATED = 201


@dataclass(frozen=True, slots=True)
class Once:
    """What is to be done at most once.

    Attributes:
        identity: 32 bytes, the hash of who asks, of what, and under which key.
        asked: hash of the request, by which the same key under another request is told apart.
    """

    identity: bytes
    asked: bytes

    def values(self, place: str, view: str) -> dict[str, Any]:
        """What `unanswered` and `answering` take.

        Args:
            place: what stands before the key in a new row's Location.
            view: the part of its ETag that doesn't depend on its version.
        """
        return {IDENTITY: self.identity, NUMBER: number_of(self.identity), ASKED: self.asked, PLACE: place, VIEW: view}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with.

    Attributes:
        asked: hash of the request, by which the same key under another request is told apart.
        headers: those that belong to the answer itself: its media type, its Location, its ETag or what that is made of.
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
    return bool(await session.scalar(LOCK, {"number": number_of(identity)}))


def number_of(identity: bytes) -> int:
    """The number of the lock of an idempotency key."""
    return int.from_bytes(identity[:8], signed=True)


async def find(session: AsyncSession, identity: bytes) -> Answer | None:
    """The answer that was kept within the last day."""
    row = (await session.execute(FIND, {"id": identity})).one_or_none()
    return None if row is None else Answer(*row)


async def keep(session: AsyncSession, identity: bytes, answer: Answer) -> None:
    """Keep an answer, in the transaction of what it tells."""
    values = {"id": identity, "asked": answer.asked, "status": answer.status, "headers": dict(answer.headers), "body": answer.body}
    await session.execute(KEEP, values)


def unanswered() -> ColumnElement[bool]:
    """The condition of a statement that is to be done once: nobody else is at it, and no answer is kept.

    An answer that is kept while the statement runs is not seen. Then `answering` fails, and all of the statement with it.
    """
    kept = exists().where(answers.c.id == bindparam(IDENTITY), answers.c.answered_at > func.clock_timestamp() - A_DAY)
    return func.pg_try_advisory_xact_lock(bindparam(NUMBER, type_=BigInteger)) & ~kept


def answering(written: CTE) -> list[CTE]:
    """The parts of a statement that keep the answer of another part of it, and take up to two old ones away.

    Args:
        written: gives the new row's primary key as `key`, an integer or a UUID, the row as JSON as `data`, and its version.
    """
    is_old = answers.c.answered_at < select(func.clock_timestamp() - A_DAY).scalar_subquery()  # an index looks nothing volatile up
    oldest = select(answers.c.id).where(is_old, answers.c.id != bindparam(IDENTITY)).order_by(answers.c.answered_at)
    old = delete(answers).where(answers.c.id.in_(oldest.limit(literal_column("2")).with_for_update(skip_locked=True))).cte("old")
    place = bindparam(PLACE, type_=Text).concat(cast(written.c.key, Text))
    kept = {"content-type": constant("application/json"), "location": place, ROW_VERSION: _row_version(written)}
    headers = func.jsonb_build_object(*(part for name, value in kept.items() for part in (constant(name), value)))
    body = func.convert_to(written.c.data, constant("UTF8"))
    rows = select(
        bindparam(IDENTITY, type_=LargeBinary), bindparam(ASKED, type_=LargeBinary), literal_column(str(CREATED)), headers, body
    ).select_from(written)
    return [old, insert(answers).from_select(["id", "asked", "status", "headers", "body"], rows).cte("kept")]


def _row_version(written: CTE) -> ColumnElement[str]:
    """The version of a new row, the microseconds from 1970 to its time, and its view, with spaces between."""
    moment = cast(extract("epoch", written.c.updated_at) * MICROSECONDS, BigInteger)
    space = constant(" ")
    return func.concat(written.c.version, space, moment, space, bindparam(VIEW, type_=Text), type_=Text())


def stands(error: BaseException) -> bool:
    """Whether a statement failed because an answer was kept meanwhile."""
    return getattr(driver_error(error.__cause__ or error), "table_name", None) == answers.name
