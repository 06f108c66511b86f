"""The spool's tables: what is known of each file, and, unless a shared directory holds them, its bytes in chunks.

Times are the database's clock. A file is written until it is sealed, and read from then on; each one expires, sealed or not.
"""

import datetime
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    Select,
    Table,
    Text,
    Update,
    and_,
    cast,
    delete,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.sql.dml import Delete, ReturningInsert

from service.db import Model

TEXT = Text(collation="C")
TIME = DateTime(timezone=True)
NOW = func.clock_timestamp()
PAST = func.to_timestamp(0)

FILES = Table(
    "shelfmark_files",
    Model.metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", TEXT, nullable=False, comment="what people call it; no path"),
    Column("kind", TEXT, nullable=False, comment="upload, rejects or export"),
    Column("asked_by", TEXT, nullable=False, server_default="", comment="prefix of the API key that wanted it"),
    Column("place", TEXT, comment="its name in the shared directory; NULL: its bytes are in shelfmark_chunks"),
    Column("size", BigInteger, nullable=False, server_default="0", comment="bytes that are committed"),
    Column("chunks", Integer, nullable=False, server_default="0"),
    Column("created_at", TIME, nullable=False, server_default=NOW),
    Column("sealed_at", TIME, comment="when it was whole; NULL: it is still written"),
    Column("expires_at", TIME, nullable=False),
)
Index("ix_shelfmark_files_expires_at", FILES.c.expires_at)
Index("ix_shelfmark_files_asked_by", FILES.c.asked_by, FILES.c.created_at)
CHUNKS = Table(
    "shelfmark_chunks",
    Model.metadata,
    Column("file_id", BigInteger, ForeignKey(FILES.c.id, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False, comment="counted from 0"),
    Column("bytes", LargeBinary, nullable=False),
)


def living(file: int) -> ColumnElement[bool]:
    """A file that hasn't expired."""
    return and_(FILES.c.id == file, FILES.c.expires_at > NOW)


def later(lasting: datetime.timedelta) -> ColumnElement[Any]:
    """A moment from now."""
    return NOW + cast(lasting, Interval())


def added(name: str, kind: str, asked_by: str, place: str | None, lasting: datetime.timedelta) -> ReturningInsert[int]:
    """Add an empty file; its id."""
    row = {"name": name, "kind": kind, "asked_by": asked_by, "place": place, "expires_at": later(lasting)}
    return insert(FILES).values(row).returning(FILES.c.id)


def grown(file: int, by: int, chunks: int, lasting: datetime.timedelta) -> Update:
    """Make a file longer that isn't sealed: nobody else does meanwhile. Its place, and what it holds now."""
    longer = {
        "size": FILES.c.size + by,
        "chunks": FILES.c.chunks + chunks,
        "expires_at": func.greatest(FILES.c.expires_at, later(lasting)),
    }
    return update(FILES).where(living(file), FILES.c.sealed_at.is_(None)).values(longer)


def sealed(file: int, lasting: datetime.timedelta, name: str | None) -> Update:
    """Let nothing be added any more, and keep it for a while from now; under another name, if there is one."""
    whole = {"sealed_at": NOW, "expires_at": later(lasting), **({"name": name} if name else {})}
    return update(FILES).where(living(file), FILES.c.sealed_at.is_(None)).values(whole)


def found(file: int) -> Select[Any]:
    """What is known of a file."""
    return select(FILES).where(living(file))


def chunk(file: int, number: int) -> Select[bytes]:
    """One chunk's bytes."""
    return select(CHUNKS.c.bytes).where(CHUNKS.c.file_id == file, CHUNKS.c.number == number)


def shortened(file: int, lasting: datetime.timedelta) -> Update:
    """Keep a file no longer than for a while from now."""
    return update(FILES).where(living(file)).values(expires_at=func.least(FILES.c.expires_at, later(lasting)))


def abandoned(file: int) -> Update:
    """Keep a file no longer, unless it was sealed meanwhile."""
    return update(FILES).where(living(file), FILES.c.sealed_at.is_(None)).values(expires_at=NOW)


def condemned(*, shared: bool, left: Sequence[int] = ()) -> Update:
    """Take hold of a file that has expired. It is changed, so that whoever was about to write to it finds it gone.

    Args:
        shared: whether files in the shared directory may be taken too.
        left: files that are left alone.
    """
    expired = and_(FILES.c.expires_at < NOW, true() if shared else FILES.c.place.is_(None), FILES.c.id.not_in(left))
    oldest = select(FILES.c.id).where(expired).order_by(FILES.c.expires_at).limit(1)
    one = oldest.with_for_update(skip_locked=True).scalar_subquery()
    return update(FILES).where(FILES.c.id == one).values(expires_at=PAST, sealed_at=None)


def emptied(file: int, most: int) -> Delete:
    """Remove some chunks of a file."""
    some = select(CHUNKS.c.number).where(CHUNKS.c.file_id == file).order_by(CHUNKS.c.number).limit(most)
    return delete(CHUNKS).where(CHUNKS.c.file_id == file, CHUNKS.c.number.in_(some))


def removed(file: int) -> Delete:
    """Remove what is known of a condemned file."""
    return delete(FILES).where(FILES.c.id == file, FILES.c.expires_at == PAST)
