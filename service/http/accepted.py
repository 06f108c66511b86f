"""What is answered where a job was asked for: 202, where it can be watched, and what it is by now."""

import datetime
from typing import Any

from starlette.responses import Response

from service.db import Database
from service.http.schema import Schema
from service.http.telling import answered
from service.jobs.rows import JobRows


class Accepted(Schema):
    """A job, as who asked for it is told of it.

    Attributes:
        done: how much of it is done, in whatever is counted.
        total: of how much.
        message: what goes on.
        result: what it gave.
        error: why it failed, or why it is tried again.
    """

    id: int
    name: str
    state: str
    done: int | None
    total: int | None
    message: str | None
    result: Any
    error: str | None
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None


async def accepted(database: Database, id_: int, prefix: str) -> Response:
    """The answer to who has asked for a job, in the unit of work that asks for it.

    Args:
        database: where the job stands.
        id_: the job's.
        prefix: of the path of all tables, `/v1`.
    """
    row = await JobRows(database).get(id_)
    return answered(Accepted.model_validate(row).model_dump(mode="json"), 202, {"Location": f"{prefix}/jobs/{id_}"})
