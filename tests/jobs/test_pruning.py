"""Expired files are removed by a job, which is asked for again and again."""

import datetime

from service import schema
from service.db import Database
from service.jobs.job import enqueue
from service.jobs.pruning import prune, pruning
from service.jobs.rows import JobRows
from service.jobs.spool import Spool
from service.settings import Settings
from tests.fixtures.jobs import worked_off


async def test_expired_files_are_removed(committed: Database, settings: Settings) -> None:
    spool = Spool(committed)
    await spool.open("f", "upload", unsealed=datetime.timedelta(seconds=-1))
    kept = await spool.open("f", "upload")
    async with committed.writing():
        id_ = await enqueue(prune)
    assert [(ran.name, ran.outcome) for ran in await worked_off(committed, settings)] == [("spool.prune", "done")]
    assert (await JobRows(committed).get(id_)).result == 1
    assert (await spool.find(kept)).id == kept


def test_it_is_asked_for_again_and_again() -> None:
    assert pruning in schema.schedules()
    assert schema.jobs()["spool.prune"] is prune
