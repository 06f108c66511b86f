"""Whose turn it is among imports into one table from one source: else two files end as a mix of both.

While an import runs, an advisory lock keeps others off. Between two runs of a job its row does: a job that has come part of the way
goes first, then the one that was asked for first.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.errors import SetupError

OPEN = """
SELECT {what} FROM shelfmark_jobs
WHERE state IN ('queued', 'running') AND cancel_at IS NULL
  AND name = 'import' AND args ->> 'table' = :table AND args ->> 'source' = :source
"""
AHEAD = text(f"""
SELECT EXISTS ({OPEN.format(what="")}
  AND id <> :id AND (checkpoint IS NULL, id) < (CAST(:fresh AS boolean), CAST(:id AS bigint)))
""")
UNDER_WAY = text(f"{OPEN.format(what='id')} AND checkpoint IS NOT NULL ORDER BY id LIMIT 1")
KNOWS_JOBS = text("SELECT coalesce(has_table_privilege(to_regclass('shelfmark_jobs'), 'SELECT'), false)")
# The lock is looked for and not tried: for that moment it would keep off whoever's turn it is.
HELD = text("""
SELECT EXISTS (
  SELECT FROM pg_locks AS held LEFT JOIN pg_stat_activity AS holder USING (pid), hashtextextended(:lock, 0) AS wanted(key)
  WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND held.classid = CAST((wanted.key >> 32) & 4294967295 AS oid) AND held.objid = CAST(wanted.key & 4294967295 AS oid)
    AND holder.application_name IS DISTINCT FROM :own
)
""")
Session = AsyncConnection | AsyncSession


async def is_ahead(session: Session, table: str, source: str, *, id_: int, fresh: bool) -> bool:
    """Whether another job goes before an import.

    Args:
        session: in a transaction. On the connection that holds the lock of the import, the answer stays true until that is let go.
        table: that is imported into.
        source: where its rows come from.
        id_: the import's job.
        fresh: whether it hasn't kept any row yet.
    """
    return bool(await session.scalar(AHEAD, {"table": table, "source": source, "id": id_, "fresh": fresh}))


async def is_held(session: Session, table: str, source: str, *, own: str) -> bool:
    """Whether another import runs, by a job or a command.

    Args:
        session: to ask with.
        table: that is imported into.
        source: where the rows come from.
        own: what an import's own connections are called in the database; what they hold is let go when it begins.
    """
    return bool(await session.scalar(HELD, {"lock": f"shelfmark import {table} {source}", "own": own}))


async def refuse_between(connection: AsyncConnection, table: str, source: str) -> None:
    """Keep an import that is no job from coming between two runs of one.

    Args:
        connection: that of the import.
        table: that is imported into.
        source: where the rows come from.

    Raises:
        SetupError: a job has come part of the way.
    """
    if not await connection.scalar(KNOWS_JOBS):  # there are none yet, or whoever imports may not see them
        return
    found = await connection.scalar(UNDER_WAY, {"table": table, "source": source})
    if found is not None:
        raise SetupError(
            f"Job {found} imports into {table} from the source {source!r} and has come part of the way. Wait for its end, "
            f"cancel it (`shelfmark jobs cancel {found}`), or name another --source."
        )
