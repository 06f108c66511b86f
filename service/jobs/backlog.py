"""How much work there is, and who is there to do it: as numbers, and for `shelfmark doctor`."""

from dataclasses import dataclass
from time import monotonic

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.jobs.transitions import ALIVE_SECONDS
from service.telemetry.counting import Family, Told

LOOK_SECONDS = 5.0
STALE_SECONDS = 30.0
"""After which a number is no more told: whoever counted has stopped."""
MOST = 100_000
"""Beyond which jobs of a state aren't counted any further."""
COUNT = text("""
SELECT living.workers, living.slots,
  open.waiting, open.delayed, open.running,
  (SELECT count(*) FROM (SELECT FROM shelfmark_jobs WHERE state = 'failed' LIMIT :most) AS failed) AS failed,
  coalesce(CAST(extract(epoch FROM clock_timestamp() - (
    SELECT due_at FROM shelfmark_jobs
    WHERE state IN ('queued', 'running') AND due_at <= (SELECT clock_timestamp()) ORDER BY due_at, id LIMIT 1
  )) AS double precision), 0) AS oldest_seconds
FROM (
  SELECT count(*) FILTER (WHERE state = 'running') AS running,
    count(*) FILTER (WHERE state = 'queued' AND (handed OR due_at <= clock_timestamp())) AS waiting,
    count(*) FILTER (WHERE state = 'queued' AND NOT handed AND due_at > clock_timestamp()) AS delayed
  FROM (SELECT state, handed, due_at FROM shelfmark_jobs WHERE state IN ('queued', 'running') LIMIT :most) AS jobs
) AS open, (
  SELECT count(*) AS workers, coalesce(sum(slots), 0) AS slots
  FROM shelfmark_workers WHERE seen_at > clock_timestamp() - make_interval(secs => :alive)
) AS living
""")
WORKERS = Family("shelfmark_job_workers", "gauge", "Workers that live.", together="max")
JOBS = Family("shelfmark_jobs", "gauge", "Jobs that haven't ended, or have failed, by state.", ("state",), (), "max")
OLDEST = Family(
    "shelfmark_job_oldest_due_seconds", "gauge", "Seconds for which the oldest job is due that nobody was handed.", together="max"
)
FAMILIES = (WORKERS, JOBS, OLDEST)


@dataclass(frozen=True, slots=True)
class Counted:
    """What there is to do, and who does it.

    Attributes:
        workers: that live.
        slots: of all of them.
        waiting: jobs that are due, or were handed out, and haven't begun.
        delayed: jobs whose time, or whose next try, is still to come.
        running: those that somebody runs.
        failed: those that were given up, and are still kept.
        oldest_seconds: for how long the oldest is due that nobody was handed.
    """

    workers: int
    slots: int
    waiting: int
    delayed: int
    running: int
    failed: int
    oldest_seconds: float


async def counted(session: AsyncConnection | AsyncSession) -> Counted:
    """What there is to do now."""
    return Counted(*(await session.execute(COUNT, {"alive": ALIVE_SECONDS, "most": MOST})).one())


class Backlog:
    """A chore of the relay: counts, for numbers."""

    def __init__(self) -> None:
        self._looked = -LOOK_SECONDS
        self._found: Counted | None = None

    async def step(self, connection: AsyncConnection) -> bool:
        """Count now and then; never more to do at once."""
        if monotonic() - self._looked >= LOOK_SECONDS:
            async with connection.begin():
                self._found = await counted(connection)
            self._looked = monotonic()
        return False

    def told(self) -> Told:
        """What it has found; nothing once that is old."""
        found = self._found
        if found is None or monotonic() - self._looked > STALE_SECONDS:
            return
        yield WORKERS.name, (), [found.workers]
        yield OLDEST.name, (), [found.oldest_seconds]
        for state in ("waiting", "delayed", "running", "failed"):
            yield JOBS.name, (state,), [getattr(found, state)]
