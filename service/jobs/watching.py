"""How far jobs are, for whoever watches them: one statement for any number of jobs, that gives only those that have changed.

A job's row has a version that grows with each change of it, whoever makes it. Who has seen one asks for what is newer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Select, bindparam, column, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import rendering, surface
from service.errors import SetupError
from service.jobs.rows import JobRow

UNSEEN = 0
"""Less than any version."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as it was at some time.

    Attributes:
        id: the job's.
        version: of its row; `UNSEEN` where there is none any more.
        asked_by: the prefix of the API key that wanted it.
        ended: whether nothing will change any more.
        shown: what clients see of it, as JSON on one line.
    """

    id: int
    version: int
    asked_by: str
    ended: bool
    shown: str


class Changes:
    """Asks which jobs have changed.

    Args:
        members: the columns that are shown.
    """

    def __init__(self, members: Iterable[str]) -> None:
        self._statement = _changed(members)

    async def since(self, session: AsyncSession, known: Mapping[int, int]) -> Sequence[Seen]:
        """Jobs whose row isn't what somebody has seen.

        Args:
            session: to read with.
            known: job -> the version that was seen.
        """
        given = {"ids": list(known), "versions": list(known.values())}
        return [Seen(*row) for row in await session.execute(self._statement, given)]


def _changed(members: Iterable[str]) -> Select[Any]:
    of = surface(JobRow)
    shown = rendering.row({name: of.expressions[name] for name in members}, of.contract.nullable)
    if shown is None:
        raise SetupError("A job's row has a column that PostgreSQL doesn't write as answers show it.")
    numbers = ARRAY(BigInteger)
    given = func.unnest(bindparam("ids", type_=numbers), bindparam("versions", type_=numbers))
    known = given.table_valued(column("id", BigInteger), column("version", BigInteger), name="known").render_derived()
    return (
        select(
            known.c.id,
            func.coalesce(JobRow.version, UNSEEN),
            func.coalesce(JobRow.asked_by, ""),
            JobRow.state.is_distinct_from("queued") & JobRow.state.is_distinct_from("running"),
            shown,
        )
        .select_from(known.outerjoin(JobRow, JobRow.id == known.c.id))
        .where(func.coalesce(JobRow.version, UNSEEN) != known.c.version)
    )
