"""How much of the background one API key may have: jobs open at once, an upload on its way among them, and bytes of files a day.

Who begins something takes turns, key by key: what is counted stands until the transaction ends that adds to it. Bytes are counted
again with each part of a file, together with those of others that are written meanwhile: the excess is a part of each at the most.
"""

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Interval, and_, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import TooManyRequests
from service.jobs.files import FILES, NOW
from service.jobs.rows import JobRow
from service.jobs.spool import Kind
from service.settings import Settings

UPLOAD: Kind = "upload"
EXPORT: Kind = "export"
A_DAY = datetime.timedelta(days=1)
COUNTED: Mapping[Kind, tuple[Kind, ...]] = {UPLOAD: (UPLOAD, "rejects"), EXPORT: (EXPORT,)}
"""Whose bytes count: what is kept of an upload's rejects is as large as whoever uploads wants it to be."""
ACTS: Mapping[Kind, str] = {UPLOAD: "upload", EXPORT: "export"}
SOON_SECONDS = 10
"""After which another of a key's jobs may have ended."""
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('shelfmark quota ' || :key, 0))")


@dataclass(frozen=True, slots=True)
class Quota:
    """What each key may have.

    Attributes:
        open_most: jobs that haven't ended, and uploads that aren't whole yet.
        bytes_a_day: of uploads, within any 24 hours.
        exported_a_day: of exports, likewise.
    """

    open_most: int
    bytes_a_day: int
    exported_a_day: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Quota":
        """The quota that the settings describe."""
        return cls(settings.open_jobs_most_each, settings.upload_bytes_a_day, settings.export_bytes_a_day)

    async def admit(self, session: AsyncSession, key: str, kind: Kind = UPLOAD) -> "Allowance":
        """Let a key begin something more; how large its file may be. The transaction must add what is begun.

        Raises:
            TooManyRequests: it has too much already.
        """
        await session.execute(LOCK, {"key": key})
        if await open_of(session, key) >= self.open_most:
            raise TooManyRequests(
                f"{self.open_most} jobs of this API key haven't ended yet, as many as may be open at once. "
                "Wait for one of them, or cancel one.",
                SOON_SECONDS,
            )
        return await self.left(session, key, kind)

    async def left(self, session: AsyncSession, key: str, kind: Kind) -> "Allowance":
        """How large a key's files may still be, of those of a day."""
        whole, (sent, seconds) = self._a_day(kind), await sent_of(session, key, kind)
        return Allowance(whole, whole - sent, seconds, ACTS[kind])

    async def check(self, session: AsyncSession, key: str, size: int, kind: Kind = UPLOAD) -> None:
        """Refuse a part of a file, in the transaction that adds it, if it is more than is left by now.

        Raises:
            TooManyRequests: it is.
        """
        (await self.left(session, key, kind)).check(size)

    def _a_day(self, kind: Kind) -> int:
        return self.exported_a_day if kind == EXPORT else self.bytes_a_day


class Allowance:
    """What a key may upload, or export, now.

    Args:
        whole: the bytes of a day.
        left: those that are left of it.
        seconds: until some are there again.
        act: what it may do with them.
    """

    def __init__(self, whole: int, left: int, seconds: int, act: str) -> None:
        self._whole, self._left, self._seconds, self._act = whole, left, seconds, act

    def take(self, size: int) -> None:
        """Count some bytes.

        Raises:
            TooManyRequests: they are too many.
        """
        self.check(size)
        self._left -= size

    def check(self, size: int) -> None:
        """Refuse so many bytes, if they are too many.

        Raises:
            TooManyRequests: they are.
        """
        if size > self._left:
            raise TooManyRequests(
                f"This API key may {self._act} {self._whole:,} bytes within 24 hours. Of these {max(0, self._left):,} are left, "
                f"and the file is larger. Some are there again in {self._seconds:,} s.",
                self._seconds,
            )


async def open_of(session: AsyncSession, key: str) -> int:
    """How many jobs of a key haven't ended, and how many of its uploads aren't whole."""
    unsealed = and_(FILES.c.sealed_at.is_(None), FILES.c.expires_at > NOW)
    uploads = select(func.count()).select_from(FILES).where(FILES.c.asked_by == key, FILES.c.kind == UPLOAD, unsealed)
    jobs = select(func.count()).select_from(JobRow).where(JobRow.asked_by == key, JobRow.state.in_(("queued", "running")))
    return await session.scalar(select(uploads.scalar_subquery() + jobs.scalar_subquery())) or 0


async def sent_of(session: AsyncSession, key: str, kind: Kind = UPLOAD) -> tuple[int, int]:
    """How many bytes a key's files of the last 24 hours have, and in how many seconds some of them won't count any more."""
    recent = and_(FILES.c.asked_by == key, FILES.c.kind.in_(COUNTED[kind]), FILES.c.created_at > NOW - cast(A_DAY, Interval()))
    age = func.extract("epoch", NOW - func.min(FILES.c.created_at))
    sent, oldest = (await session.execute(select(func.coalesce(func.sum(FILES.c.size), 0), age).where(recent))).one()
    return int(sent), max(1, math.ceil(A_DAY.total_seconds() - float(oldest or 0)))
