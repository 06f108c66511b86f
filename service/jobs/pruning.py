"""What removes files that have expired: a job that the relay asks for, every ten minutes."""

import datetime

from service.jobs.job import job
from service.jobs.running import Run
from service.jobs.scheduling import Schedule
from service.jobs.spool import Spool


@job(name="spool.prune", timeout=600.0)
async def prune(run: Run) -> int:
    """Remove files of the spool that have expired; how many."""
    return await run.uses(Spool).prune()


pruning = Schedule(prune, every=datetime.timedelta(minutes=10))
