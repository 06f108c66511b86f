"""The outbox as it is handed on: rows get their numbers, in the order in which they can be seen, and each consumer has a position.

Whoever numbers holds one row, so numbers are given by one at a time and a higher one never shows before a lower one. Notes of one
subject are numbered in the order of their transactions: a row's lock makes those wait for each other, and a note is written while
it is held.

A consumer's position is held by one relay at a time, for some seconds: what is handed on is in order. A relay that dies leaves
what it had begun to the next one, so a note may come twice. One that stood still beyond its hold may bring old notes late: a
consumer that minds compares numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.db.model import Model

Session = AsyncConnection | AsyncSession
NUMBERED = ""
"""The row whose position is the last number given, and whose holder names this database for ever."""
AT_ONCE = 1_000
HOLD_SECONDS = 10.0
KEPT_MINUTES = 10
"""For which notes stay that everybody has been told of."""
FORGOTTEN_HOURS = 24
"""After which a consumer that nobody serves any more holds nothing up."""

consumers = Table(
    "shelfmark_consumers",
    Model.metadata,
    Column("name", Text(collation="C"), primary_key=True),
    Column("number", BigInteger, nullable=False, server_default="0", comment="of the last note that it was told of"),
    Column("holder", Text, comment="which relay serves it"),
    Column("held_until", DateTime(timezone=True), nullable=False, server_default=text("'-infinity'")),
    Column("served_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
)

ENSURE = text("""
INSERT INTO shelfmark_consumers (name, holder)
SELECT name, CASE WHEN name = '' THEN CAST(gen_random_uuid() AS text) END FROM unnest(CAST(:names AS text[])) AS name
ON CONFLICT (name) DO NOTHING
""")
NAME = text("SELECT holder FROM shelfmark_consumers WHERE name = ''")
NUMBER = text("""
WITH last AS (
  SELECT number FROM shelfmark_consumers WHERE name = '' FOR UPDATE SKIP LOCKED
), fresh AS (
  SELECT id, row_number() OVER (ORDER BY id) AS place
  FROM (SELECT id FROM shelfmark_outbox WHERE number IS NULL ORDER BY id LIMIT :most) AS seen
), numbered AS (
  UPDATE shelfmark_outbox AS note SET number = last.number + fresh.place FROM fresh, last
  WHERE note.id = fresh.id AND note.number IS NULL
  RETURNING note.number
), highest AS (
  SELECT count(*) AS notes, max(number) AS number FROM numbered
), kept AS (
  UPDATE shelfmark_consumers SET number = highest.number FROM highest WHERE name = '' AND highest.number IS NOT NULL
)
SELECT notes FROM highest
""")
HOLD = text("""
UPDATE shelfmark_consumers
SET holder = :holder, held_until = clock_timestamp() + make_interval(secs => :seconds), served_at = clock_timestamp()
WHERE name = :name AND (holder = :holder OR held_until < clock_timestamp())
RETURNING number
""")
AFTER = text("""
SELECT number, subject, what, content FROM shelfmark_outbox WHERE number > :number ORDER BY number LIMIT :most
""")
TOLD = text("""
UPDATE shelfmark_consumers SET number = :number WHERE name = :name AND holder = :holder AND number < :number
""")
LET_GO = text("UPDATE shelfmark_consumers SET held_until = '-infinity' WHERE holder = :holder AND name <> ''")
PRUNE = text("""
DELETE FROM shelfmark_outbox WHERE id IN (
  SELECT id FROM shelfmark_outbox
  WHERE number <= (
    SELECT min(number) FROM shelfmark_consumers
    WHERE name = '' OR served_at > clock_timestamp() - make_interval(hours => :hours)
  ) AND noted_at < clock_timestamp() - make_interval(mins => :minutes)
  ORDER BY number LIMIT :most FOR UPDATE SKIP LOCKED
)
""")


@dataclass(frozen=True, slots=True)
class Noted:
    """A note on its way to a consumer.

    Attributes:
        number: grows with each note.
        subject: as in `books/7`.
        what: happened to it.
    """

    number: int
    subject: str
    what: str
    content: Any


async def ensure(session: Session, names: Sequence[str]) -> None:
    """Make sure that consumers have a position; a new one is told of everything that is still there."""
    await session.execute(ENSURE, {"names": [NUMBERED, *names]})


async def name_of(session: Session) -> str:
    """A name that this database alone has, once `ensure` was called: for what several of them share."""
    return str(await session.scalar(NAME))


async def number(session: Session, most: int = AT_ONCE) -> int:
    """Number what was committed since; how many notes that were. None where somebody else is at it."""
    return int(await session.scalar(NUMBER, {"most": most}) or 0)


async def hold(session: Session, name: str, holder: str) -> int | None:
    """A consumer's position, held for some seconds; None where another relay holds it."""
    found = await session.scalar(HOLD, {"name": name, "holder": holder, "seconds": HOLD_SECONDS})
    return None if found is None else int(found)


async def after(session: Session, position: int, most: int = AT_ONCE) -> Sequence[Noted]:
    """The notes behind a position, in order."""
    return [Noted(*row) for row in await session.execute(AFTER, {"number": position, "most": most})]


async def told(session: Session, name: str, holder: str, position: int) -> None:
    """Move a consumer's position, if it is still held."""
    await session.execute(TOLD, {"name": name, "holder": holder, "number": position})


async def let_go(session: Session, holder: str) -> None:
    """Leave what a relay holds to others."""
    await session.execute(LET_GO, {"holder": holder})


async def prune(session: Session, most: int = 10 * AT_ONCE) -> int:
    """Delete old notes that every consumer was told of; how many."""
    values = {"hours": FORGOTTEN_HOURS, "minutes": KEPT_MINUTES, "most": most}
    return int(getattr(await session.execute(PRUNE, values), "rowcount", 0))
