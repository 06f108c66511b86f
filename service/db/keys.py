"""API keys as the database keeps them: a prefix to find each by, and a signature in place of its secret.

The table belongs to the service, not to a domain: it is migrated like any other and served nowhere. What is said of time here is
said by the database's clock.
"""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Interval,
    LargeBinary,
    Table,
    Text,
    and_,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.db.model import Model

Session = AsyncConnection | AsyncSession
TOLD_AGAIN = datetime.timedelta(seconds=60)
TEXT = Text(collation="C")
TIME = DateTime(timezone=True)

KEYS = Table(
    "shelfmark_keys",
    Model.metadata,
    Column("prefix", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("signature", LargeBinary, nullable=False, comment="HMAC of the whole key"),
    Column("signed_by", TEXT, nullable=False, comment="which of the service's secrets made it"),
    Column("scopes", ARRAY(TEXT), nullable=False),
    Column("within", JSONB, nullable=False, server_default="{}", comment="name -> the value that rows must have there"),
    Column("created_at", TIME, nullable=False, server_default=func.clock_timestamp()),
    Column("expires_at", TIME),
    Column("revoked_at", TIME),
    Column("replaced_by", TEXT),
    Column("last_used_at", TIME),
)
NOW = func.clock_timestamp()


@dataclass(frozen=True, slots=True)
class Granted:
    """What a key may do.

    Attributes:
        scopes: as in `books:read`, `*:read`, `admin`.
        within: name -> the one value that rows must have there; empty: every row.
    """

    name: str
    scopes: tuple[str, ...]
    within: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Signed:
    """What is kept of a key's secret.

    Attributes:
        signed_by: the name of the service's secret that signed it.
    """

    prefix: str
    signature: bytes
    signed_by: str


@dataclass(frozen=True, slots=True)
class Living:
    """A key that can be used.

    Attributes:
        seconds: until it expires; None where it doesn't.
    """

    signed: Signed
    scopes: tuple[str, ...]
    within: Mapping[str, str]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A key as its owner is told of it; `now` is the database's time."""

    prefix: str
    name: str
    scopes: tuple[str, ...]
    within: Mapping[str, str]
    created_at: datetime.datetime
    expires_at: datetime.datetime | None
    revoked_at: datetime.datetime | None
    replaced_by: str | None
    last_used_at: datetime.datetime | None
    signed_by: str
    now: datetime.datetime

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > self.now)


def _alive() -> ColumnElement[bool]:
    return and_(KEYS.c.revoked_at.is_(None), or_(KEYS.c.expires_at.is_(None), KEYS.c.expires_at > NOW))


def _later(lasting: datetime.timedelta | None) -> ColumnElement[Any]:
    return null() if lasting is None else NOW + cast(lasting, Interval())


async def living(session: Session, prefixes: Iterable[str]) -> dict[str, Living]:
    """Those of some keys that can be used now, by prefix; in one statement."""
    seconds = func.extract("epoch", KEYS.c.expires_at - NOW)
    columns = [KEYS.c[name] for name in ("prefix", "signature", "signed_by", "scopes", "within")]
    wanted = literal(list(prefixes), ARRAY(TEXT))
    found = await session.execute(select(*columns, seconds).where(KEYS.c.prefix == func.any(wanted), _alive()))
    return {
        row[0]: Living(Signed(row[0], row[1], row[2]), tuple(row[3]), row[4], None if row[5] is None else float(row[5]))
        for row in found
    }


async def listed(session: Session, *where: ColumnElement[bool]) -> list[Listed]:
    """Every key, or some, those that can be used first, then by age."""
    columns = [KEYS.c[field.name] for field in fields(Listed) if field.name != "now"]
    found = await session.execute(select(*columns, NOW.label("now")).where(*where).order_by(KEYS.c.created_at, KEYS.c.prefix))
    keys = [Listed(**{**row, "scopes": tuple(row["scopes"])}) for row in found.mappings()]
    return sorted(keys, key=lambda key: not key.alive)


async def find(session: Session, prefix: str) -> Listed | None:
    """One key, whatever became of it."""
    return next(iter(await listed(session, KEYS.c.prefix == prefix)), None)


async def add(session: Session, signed: Signed, granted: Granted, lasting: datetime.timedelta | None = None) -> None:
    """Keep a new key, for as long as it lasts."""
    await session.execute(insert(KEYS).values(**_values(signed, granted), expires_at=_later(lasting)))


async def replace(session: Session, old: str, signed: Signed, overlap: datetime.timedelta) -> bool:
    """Keep a new key that may do what an old one may, as long as that was made for; the old one goes on for a while at the most.

    Returns:
        Whether there was such a key, it could be used, and none has replaced it yet.
    """
    copied = ("name", "scopes", "within")
    anew = NOW + (KEYS.c.expires_at - KEYS.c.created_at)
    values = [literal(value) for value in (signed.prefix, signed.signature, signed.signed_by)]
    still = select(*values, *(KEYS.c[name] for name in copied), anew)
    still = still.where(KEYS.c.prefix == old, KEYS.c.replaced_by.is_(None), _alive()).with_for_update()
    made = insert(KEYS).from_select(["prefix", "signature", "signed_by", *copied, "expires_at"], still).returning(KEYS.c.prefix)
    if (await session.execute(made)).first() is None:
        return False
    ends = func.least(KEYS.c.expires_at, _later(overlap))
    await session.execute(update(KEYS).where(KEYS.c.prefix == old).values(expires_at=ends, replaced_by=signed.prefix))
    return True


async def revoke(session: Session, prefix: str) -> bool:
    """End a key now; False where there is none that could be ended."""
    ended = update(KEYS).where(KEYS.c.prefix == prefix, KEYS.c.revoked_at.is_(None)).values(revoked_at=NOW)
    return (await session.execute(ended.returning(KEYS.c.prefix))).first() is not None


async def tell_used(session: Session, ages: Mapping[str, float]) -> None:
    """Write down when keys were last used, at most once a minute for each.

    Args:
        session: in a transaction.
        ages: prefix -> seconds since its last use.
    """
    told = or_(KEYS.c.last_used_at.is_(None), KEYS.c.last_used_at < NOW - cast(TOLD_AGAIN, Interval()))
    free = select(KEYS.c.prefix).where(KEYS.c.prefix.in_(ages), told).order_by(KEYS.c.prefix).with_for_update(skip_locked=True)
    for prefix in (await session.execute(free)).scalars().all():
        used_at = NOW - cast(datetime.timedelta(seconds=ages[prefix]), Interval())
        await session.execute(update(KEYS).where(KEYS.c.prefix == prefix).values(last_used_at=used_at))


async def sign_anew(session: Session, signed: Signed, before: str) -> None:
    """Keep a signature by a newer secret in place of the one that an older secret made."""
    still = and_(KEYS.c.prefix == signed.prefix, KEYS.c.signed_by == before)
    await session.execute(update(KEYS).where(still).values(signature=signed.signature, signed_by=signed.signed_by))


async def is_there(session: Session) -> bool:
    """Whether the table has been migrated."""
    return bool(await session.scalar(select(cast(func.to_regclass(KEYS.name).is_not(None), Boolean))))


def _values(signed: Signed, granted: Granted) -> dict[str, Any]:
    return {
        "prefix": signed.prefix,
        "signature": signed.signature,
        "signed_by": signed.signed_by,
        "name": granted.name,
        "scopes": list(granted.scopes),
        "within": dict(granted.within),
    }
