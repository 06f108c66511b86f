"""How much of the background one API key may have: jobs open at once, an upload on its way among them, and bytes a day.

Who takes part takes turns, key by key: what is counted stands until the transaction ends that adds to it.
"""

import datetime
import math
from dataclasses import dataclass

from sqlalchemy import Interval, and_, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import TooManyRequests
from service.jobs.files import FILES, NOW
from service.jobs.rows import JobRow
from service.jobs.spool import Kind
from service.settings import Settings

UPLOAD: Kind = "upload"
A_DAY = datetime.timedelta(days=1)
SOON_SECONDS = 10
"""After which another of a key's jobs may have ended."""
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('shelfmark quota ' || :key, 0))")


@dataclass(frozen=True, slots=True)
class Quota:
    """What each key may have.

    Attributes:
        open_most: jobs that haven't ended, and uploads that aren't whole yet.
        bytes_a_day: of uploads, within any 24 hours.
    """

    open_most: int
    bytes_a_day: int

    @classmethod
    def of(cls, settings: Settings) -> "Quota":
        """The quota that the settings describe."""
        return cls(settings.open_jobs_most_each, settings.upload_bytes_a_day)

    async def admit(self, session: AsyncSession, key: str) -> "Allowance":
        """Let a key begin something more; what it may upload. The transaction must add what is begun.

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
        sent, seconds = await sent_of(session, key)
        return Allowance(self.bytes_a_day, self.bytes_a_day - sent, seconds)


class Allowance:
    """What a key may upload now.

    Args:
        whole: the bytes of a day.
        left: those that are left of it.
        seconds: until some are there again.
    """

    def __init__(self, whole: int, left: int, seconds: int) -> None:
        self._whole, self._left, self._seconds = whole, left, seconds

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
                f"This API key may upload {self._whole:,} bytes within 24 hours. Of these {max(0, self._left):,} are left, "
                f"and it has sent more. Some are there again in {self._seconds:,} s.",
                self._seconds,
            )


async def open_of(session: AsyncSession, key: str) -> int:
    """How many jobs of a key haven't ended, and how many of its uploads aren't whole."""
    unsealed = and_(FILES.c.sealed_at.is_(None), FILES.c.expires_at > NOW)
    uploads = select(func.count()).select_from(FILES).where(FILES.c.asked_by == key, FILES.c.kind == UPLOAD, unsealed)
    jobs = select(func.count()).select_from(JobRow).where(JobRow.asked_by == key, JobRow.state.in_(("queued", "running")))
    return await session.scalar(select(uploads.scalar_subquery() + jobs.scalar_subquery())) or 0


async def sent_of(session: AsyncSession, key: str) -> tuple[int, int]:
    """How many bytes a key has uploaded within the last 24 hours, and in how many seconds some of them won't count any more."""
    recent = and_(FILES.c.asked_by == key, FILES.c.kind == UPLOAD, FILES.c.created_at > NOW - cast(A_DAY, Interval()))
    age = func.extract("epoch", NOW - func.min(FILES.c.created_at))
    sent, oldest = (await session.execute(select(func.coalesce(func.sum(FILES.c.size), 0), age).where(recent))).one()
    return int(sent), max(1, math.ceil(A_DAY.total_seconds() - float(oldest or 0)))
