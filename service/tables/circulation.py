"""What the library does by itself, by jobs: tell of loans that are overdue, and pass on copies that nobody has fetched."""

import datetime

from sqlalchemy import text

from service.jobs.job import job
from service.jobs.running import Run
from service.jobs.scheduling import Schedule
from service.tables.events import Event
from service.tables.lending import AT_ONCE, Lending
from service.tables.loans import Loan
from service.tables.rules import LendingRules

LOANS_AT_ONCE = 500
TODAY = text("SELECT CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date)")
NOW = text("SELECT clock_timestamp()")
# What keeps a loan from being told of twice a day is the unique index, not a check here.
TELL = text("""
WITH late AS (
  SELECT id, copy_id, member_id, due_on FROM loans
  WHERE returned_at IS NULL AND due_on < CAST(:day AS date) AND (due_on, id) > (CAST(:due_on AS date), CAST(:id AS bigint))
  ORDER BY due_on, id LIMIT :most
), told AS (
  INSERT INTO events (kind, subject, payload)
  SELECT 'loan.overdue', 'loans/' || id,
    jsonb_build_object('day', CAST(:day AS date), 'copy_id', copy_id, 'member_id', member_id, 'due_on', due_on)
  FROM late ORDER BY due_on, id
  ON CONFLICT (subject, jsonb_extract_path_text(payload, 'day')) WHERE kind = 'loan.overdue' DO NOTHING
  RETURNING id
)
SELECT last.due_on, last.id, (SELECT count(*) FROM late), (SELECT count(*) FROM told)
FROM (SELECT due_on, id FROM late ORDER BY due_on DESC, id DESC LIMIT 1) AS last
""")


@job(name="loans.overdue", timeout=None)
async def tell_overdue(run: Run) -> dict[str, int | str]:
    """Record an event for each loan that should have come back before today: one a day, however often this runs."""
    day, due_on, last, seen, told = run.checkpoint or (None, datetime.date.min.isoformat(), 0, 0, 0)
    while True:
        async with run.chunk() as unit:
            run.database.catalogue.need(Loan.overdue, Event.unique_overdue)
            day = day or (await unit.session.execute(TODAY)).scalar_one().isoformat()
            values = {"day": _date(day), "due_on": _date(due_on), "id": last, "most": LOANS_AT_ONCE}
            found = (await unit.session.execute(TELL, values)).one_or_none()
            if found is None:
                run.reached([day, due_on, last, seen, told], done=seen)
                return {"day": day, "loans": seen, "told": told}
            due_on, last, seen, told = found[0].isoformat(), found[1], seen + found[2], told + found[3]
            run.reached([day, due_on, last, seen, told], done=seen)


@job(name="holds.expire", timeout=None)
async def expire_holds(run: Run) -> int:
    """End the holds whose copies weren't fetched, and pass those on to the next in line; how many."""
    lending = Lending(run.database, run.uses(LendingRules))
    ended = run.checkpoint or 0
    async with run.database.reading() as session:
        now = (await session.execute(NOW)).scalar_one()
    while late := await lending.holds.expired(now, AT_ONCE):
        for hold_id in late:  # each in a chunk of its own: it takes the lock of a queue
            async with run.chunk():
                ended += await lending.expire(hold_id, now)
                run.reached(ended, done=ended)
    return int(ended)


def _date(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


every_day = Schedule(tell_overdue, every=datetime.timedelta(days=1), at=datetime.timedelta(minutes=15))
every_five_minutes = Schedule(expire_holds, every=datetime.timedelta(minutes=5))
