"""A job as clients see it; and what is answered where one was asked for: 202, where it can be watched, what it is by now."""

import datetime
from typing import Any, Literal

from starlette.responses import Response

from service.db import Database
from service.http.schema import Schema
from service.http.telling import answered
from service.jobs.rows import JobRows


class JobRead(Schema):
    """What a client gets back."""

    id: int
    name: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    done: int | None
    total: int | None
    message: str | None
    result: Any
    error: str | None
    asked_by: str
    attempts: int
    failures: int
    due_at: datetime.datetime
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    cancel_at: datetime.datetime | None
    updated_at: datetime.datetime


async def accepted(database: Database, id_: int, prefix: str) -> Response:
    """The answer to who has asked for a job, in the unit of work that asks for it.

    Args:
        database: where the job stands.
        id_: the job's.
        prefix: of the path of all tables, `/v1`.
    """
    row = await JobRows(database).get(id_)
    return answered(JobRead.model_validate(row).model_dump(mode="json"), 202, {"Location": f"{prefix}/jobs/{id_}"})
