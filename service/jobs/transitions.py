"""How a job's row changes, each change one statement, all by the database's clock.

    queued -> (handed out: claim grows) -> running -> done | failed | cancelled
       ^------- tried again, handed back, postponed, lease over ------|

Whoever runs a job names its claim. A statement that finds another claim, or a job that was ended, changes nothing and says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

Session = AsyncConnection | AsyncSession
HANDED_SECONDS = 10.0
"""For how long a job that was handed out may wait for a worker before it is handed out again: its message may be lost."""
BACKOFF_MOST_SECONDS = 300.0
ERROR_MOST = 2_000
LOCK = 7_401_168
"""Hands out by one at a time, so that they count what is out already."""

NOW = "(SELECT clock_timestamp())"
"""The time, once for a statement: what is compared with a volatile function itself is looked up in no index."""
TURN = text("SELECT pg_try_advisory_xact_lock(:lock)")
# What was handed out before has waited already, and is no more than what the workers that died had: it goes before what is new,
# and needs no room.
SEEN = "id, failures, attempts, cancel_at IS NOT NULL AS cancelled, state = 'running' AND NOT advanced AS lost"
HAND_OUT = text(f"""
WITH room AS (
  SELECT coalesce(CAST(:room AS bigint), (
    SELECT 2 * coalesce(sum(slots), 0) FROM shelfmark_workers WHERE seen_at > clock_timestamp() - make_interval(secs => :alive)
  ) - (SELECT count(*) FROM shelfmark_jobs WHERE handed IS TRUE AND due_at > {NOW})) AS jobs
), orphaned AS (
  SELECT {SEEN} FROM shelfmark_jobs WHERE state = 'running' AND due_at <= {NOW}
  ORDER BY due_at, id LIMIT :most FOR UPDATE SKIP LOCKED
), unheard AS (
  SELECT {SEEN} FROM shelfmark_jobs WHERE handed IS TRUE AND due_at <= {NOW}
  ORDER BY due_at, id LIMIT :most FOR UPDATE SKIP LOCKED
), fresh AS (
  SELECT {SEEN} FROM shelfmark_jobs
  WHERE state IN ('queued', 'running') AND state <> 'running' AND NOT handed AND due_at <= {NOW}
  ORDER BY due_at, id LIMIT (SELECT least(greatest(jobs, 0), :most) FROM room) FOR UPDATE SKIP LOCKED
), due AS (
  SELECT id, lost, cancelled, NOT cancelled AND lost AND failures + 1 >= attempts AS failed
  FROM (TABLE orphaned UNION ALL TABLE unheard UNION ALL TABLE fresh LIMIT :most) AS found
)
UPDATE shelfmark_jobs AS job SET
  claim = job.claim + 1,
  failures = job.failures + CAST(due.lost AS int),
  state = CASE WHEN due.cancelled THEN 'cancelled' WHEN due.failed THEN 'failed' ELSE 'queued' END,
  error = CASE WHEN due.failed THEN CAST(:died AS text) WHEN due.lost THEN CAST(:lost AS text) ELSE job.error END,
  finished_at = CASE WHEN due.cancelled OR due.failed THEN clock_timestamp() END,
  handed = NOT (due.cancelled OR due.failed),
  advanced = false,
  due_at = clock_timestamp() + make_interval(secs => :seconds)
FROM due WHERE job.id = due.id AND job.id = ANY (ARRAY(SELECT id FROM due)) -- by key, whatever a join would cost
RETURNING job.id, job.claim, job.state
""")
UNBEGUN = text(f"""
SELECT id, claim FROM shelfmark_jobs
WHERE handed IS TRUE AND due_at > {NOW} AND due_at <= {NOW} + make_interval(secs => :left)
ORDER BY due_at LIMIT :most
""")
TAKE_BACK = text("""
UPDATE shelfmark_jobs AS job SET handed = false, due_at = clock_timestamp()
FROM unnest(CAST(:ids AS bigint[]), CAST(:claims AS bigint[])) AS given(id, claim)
WHERE job.id = given.id AND job.claim = given.claim AND job.handed
""")
START = text("""
UPDATE shelfmark_jobs SET
  state = 'running', handed = false, advanced = false, started_at = coalesce(started_at, clock_timestamp()),
  due_at = clock_timestamp() + make_interval(secs => lease)
WHERE id = :id AND claim = :claim AND handed AND cancel_at IS NULL
RETURNING id, claim, name, args, asked_by, checkpoint, done, total, lease
""")
# A row that is locked is skipped: whoever holds it keeps a chunk, which renews the lease too. What was handed out and hasn't begun
# is still whose it was.
RENEW = text("""
WITH given AS (SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:claims AS bigint[])) AS given(id, claim)),
late AS (
  SELECT job.id FROM shelfmark_jobs AS job JOIN given USING (id)
  WHERE job.claim = given.claim AND job.state = 'running'
    AND job.due_at < clock_timestamp() + make_interval(secs => job.lease * 2 / 3)
  FOR UPDATE OF job SKIP LOCKED
),
renewed AS (
  UPDATE shelfmark_jobs AS job SET due_at = clock_timestamp() + make_interval(secs => lease) FROM late WHERE job.id = late.id
)
SELECT job.id, job.claim, job.cancel_at IS NOT NULL FROM shelfmark_jobs AS job JOIN given USING (id)
WHERE job.claim = given.claim AND (job.state = 'running' OR job.handed)
""")
# A chunk that keeps the checkpoint which was there already is no progress: else a run that fails behind it would be tried for ever.
ADVANCE = text("""
UPDATE shelfmark_jobs SET
  advanced = advanced OR checkpoint IS DISTINCT FROM CAST(:checkpoint AS jsonb),
  failures = CASE WHEN checkpoint IS DISTINCT FROM CAST(:checkpoint AS jsonb) THEN 0 ELSE failures END,
  error = CASE WHEN checkpoint IS DISTINCT FROM CAST(:checkpoint AS jsonb) THEN NULL ELSE error END,
  checkpoint = CAST(:checkpoint AS jsonb),
  done = coalesce(CAST(:done AS bigint), done), total = coalesce(CAST(:total AS bigint), total),
  message = coalesce(CAST(:message AS text), message),
  due_at = clock_timestamp() + make_interval(secs => lease)
WHERE id = :id AND claim = :claim AND state = 'running' AND cancel_at IS NULL
RETURNING id
""").bindparams(bindparam("checkpoint", type_=JSONB(none_as_null=True)))
TELL = text("""
UPDATE shelfmark_jobs SET
  done = coalesce(CAST(:done AS bigint), done), total = coalesce(CAST(:total AS bigint), total),
  message = coalesce(CAST(:message AS text), message)
WHERE id = :id AND claim = :claim AND state = 'running'
""")
FINISH = text("""
UPDATE shelfmark_jobs SET state = 'done', result = :result, error = NULL, finished_at = clock_timestamp()
WHERE id = :id AND claim = :claim AND state = 'running'
RETURNING id
""").bindparams(bindparam("result", type_=JSONB(none_as_null=True)))
# A wait of 2, 4, 8... seconds, by half of it more or less: what failed together doesn't come back together.
FAIL = text("""
UPDATE shelfmark_jobs SET
  failures = failures + CAST(NOT advanced AS int),
  state = CASE
    WHEN cancel_at IS NOT NULL THEN 'cancelled'
    WHEN :final OR (NOT advanced AND failures + 1 >= attempts) THEN 'failed'
    ELSE 'queued' END,
  finished_at = CASE
    WHEN cancel_at IS NOT NULL OR :final OR (NOT advanced AND failures + 1 >= attempts) THEN clock_timestamp() END,
  error = :error,
  due_at = clock_timestamp() + make_interval(secs => least(power(2, least(failures + 1, 30)), :most) * (0.5 + random()))
WHERE id = :id AND claim = :claim AND state = 'running'
RETURNING state
""")
ENDS = text("""
SELECT cancel_at IS NOT NULL OR (:failing AND NOT advanced AND failures + 1 >= attempts)
FROM shelfmark_jobs WHERE id = :id AND claim = :claim AND state = 'running'
""")
HAND_BACK = text("""
UPDATE shelfmark_jobs AS job SET
  state = CASE WHEN cancel_at IS NULL THEN 'queued' ELSE 'cancelled' END,
  finished_at = CASE WHEN cancel_at IS NOT NULL THEN clock_timestamp() END,
  message = coalesce(CAST(:message AS text), job.message),
  due_at = clock_timestamp() + make_interval(secs => :seconds)
FROM unnest(CAST(:ids AS bigint[]), CAST(:claims AS bigint[])) AS given(id, claim)
WHERE job.id = given.id AND job.claim = given.claim AND job.state = 'running'
RETURNING job.state
""")
CANCELLED = text("""
UPDATE shelfmark_jobs SET state = 'cancelled', finished_at = clock_timestamp()
WHERE id = :id AND claim = :claim AND state = 'running' AND cancel_at IS NOT NULL
RETURNING id
""")
CANCEL = text("""
UPDATE shelfmark_jobs SET
  cancel_at = coalesce(cancel_at, clock_timestamp()),
  state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END,
  finished_at = CASE WHEN state = 'queued' THEN clock_timestamp() END,
  handed = false
WHERE id = :id AND state IN ('queued', 'running')
RETURNING state
""")
RETRY = text("""
WITH job AS (
  UPDATE shelfmark_jobs SET
    state = 'queued', failures = 0, due_at = clock_timestamp(), finished_at = NULL, cancel_at = NULL, error = NULL, handed = false,
    checkpoint = CASE WHEN name = ANY (CAST(:anew AS text[])) THEN NULL ELSE checkpoint END
  WHERE id = :id AND state IN ('failed', 'cancelled')
    AND NOT EXISTS (
      SELECT FROM shelfmark_jobs AS other
      WHERE other.key = shelfmark_jobs.key AND other.state IN ('queued', 'running')
    )
  RETURNING id
), noted AS (
  INSERT INTO shelfmark_outbox (subject, what) SELECT 'jobs/' || id, 'changed' FROM job
)
SELECT id FROM job
""")
PRUNE = text(f"""
DELETE FROM shelfmark_jobs WHERE id IN (
  SELECT id FROM shelfmark_jobs
  WHERE finished_at IS NOT NULL AND finished_at < {NOW} - make_interval(days => :days)
  ORDER BY finished_at LIMIT :most FOR UPDATE SKIP LOCKED
)
""")
ANEW = ("import",)
"""Jobs that begin from their start once they had ended: since then another file may have been imported from the same source."""
LOST = "The worker that ran it has died, or stood still for longer than its lease."
DIED = f"{LOST} That was the last of its attempts."
ALIVE_SECONDS = 10.0
PRUNED_AT_ONCE = 1_000

Claim = tuple[int, int]
"""A job's id, and the claim by which somebody has it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job whose run has begun."""

    id: int
    claim: int
    name: str
    args: Any
    asked_by: str
    checkpoint: Any
    done: int | None
    total: int | None
    lease: float


async def hand_out(session: Session, most: int, room: int | None = None) -> Sequence[Claim]:
    """Claims of jobs that are due; those that were cancelled, or have lost their last run, end instead.

    Args:
        session: in a transaction.
        most: how many.
        room: how many new ones may wait for a worker; None: twice what the workers that live can run, less what waits already.
    """
    if room is None and not await session.scalar(TURN, {"lock": LOCK}):
        return []
    values = {"most": most, "room": room, "seconds": HANDED_SECONDS, "alive": ALIVE_SECONDS, "lost": LOST, "died": DIED}
    found = await session.execute(HAND_OUT, values)
    return [(row.id, row.claim) for row in found if row.state == "queued"]


async def unbegun(session: Session, seconds: float, most: int) -> Sequence[Claim]:
    """Claims that were handed out so many seconds ago or more, and by which no run has begun yet."""
    found = await session.execute(UNBEGUN, {"left": HANDED_SECONDS - seconds, "most": most})
    return [(id_, claim) for id_, claim in found]


async def take_back(session: Session, claims: Sequence[Claim]) -> None:
    """Undo a hand-out that nobody could be told of."""
    await session.execute(TAKE_BACK, _apart(claims))


async def start(session: Session, claim: Claim) -> Claimed | None:
    """Begin a run; None where the claim is an older one, or the run has begun already."""
    row = (await session.execute(START, _named(claim))).one_or_none()
    return None if row is None else Claimed(*row)


async def renew(session: Session, claims: Sequence[Claim]) -> dict[Claim, bool]:
    """Go on with runs: those that are what their job's row says, or may yet begin, and whether somebody wants its end."""
    found = await session.execute(RENEW, _apart(claims))
    return {(id_, claim): cancelled for id_, claim, cancelled in found}


async def advance(session: Session, claim: Claim, checkpoint: Any, **told: Any) -> bool:
    """Keep a checkpoint, in the transaction of what it tells of; False where the run may not go on."""
    return await session.scalar(ADVANCE, {**_named(claim), "checkpoint": checkpoint, **_progress(told)}) is not None


async def tell(session: Session, claim: Claim, **told: Any) -> None:
    """Say how far a run is."""
    await session.execute(TELL, {**_named(claim), **_progress(told)})


async def finish(session: Session, claim: Claim, result: Any) -> bool:
    """End a job that is done; False where it isn't this run's any more."""
    return await session.scalar(FINISH, {**_named(claim), "result": result}) is not None


async def fail(session: Session, claim: Claim, error: str, *, final: bool = False) -> str | None:
    """End a run that failed; the job's state then, None where it isn't this run's any more.

    Args:
        session: in a transaction.
        claim: of the run.
        error: why, as a sentence.
        final: whether trying again is of no use.
    """
    values = {"error": _storable(error[:ERROR_MOST]), "final": final, "most": BACKOFF_MOST_SECONDS}
    found: str | None = await session.scalar(FAIL, {**_named(claim), **values})
    return found


async def ends(session: Session, claim: Claim, *, failing: bool) -> bool:
    """Whether a job ends with a run that stops now; False where it isn't this run's any more.

    Args:
        session: in a transaction.
        claim: of the run.
        failing: whether the run fails; else it was broken off.
    """
    return bool(await session.scalar(ENDS, {**_named(claim), "failing": failing}))


async def hand_back(session: Session, claims: Sequence[Claim]) -> None:
    """Leave runs that were broken off to other workers, at once; that is no failure."""
    await session.execute(HAND_BACK, {**_apart(claims), "seconds": 0.0, "message": None})


async def postpone(session: Session, claim: Claim, seconds: float, message: str) -> str | None:
    """Have a job wait without a worker, which is no failure; its state then, None where it isn't this run's any more."""
    values = {**_apart([claim]), "seconds": seconds, "message": _storable(message)}
    found: str | None = await session.scalar(HAND_BACK, values)
    return found


async def cancelled(session: Session, claim: Claim) -> bool:
    """End a job whose run was broken off because somebody wanted its end; False where nobody does, or it isn't this run's."""
    return await session.scalar(CANCELLED, _named(claim)) is not None


async def cancel(session: Session, id_: int) -> str | None:
    """Have a job end: at once if it waits, within a moment if it runs; its state, None where it has ended already."""
    found: str | None = await session.scalar(CANCEL, {"id": id_})
    return found


async def retry(session: Session, id_: int) -> bool:
    """Begin a job anew that failed or was cancelled, where it had come to unless it is one of `ANEW`; False where it can't be."""
    return await session.scalar(RETRY, {"id": id_, "anew": list(ANEW)}) is not None


async def prune(session: Session, days: int) -> int:
    """Delete jobs that ended long ago; how many."""
    return int(getattr(await session.execute(PRUNE, {"days": days, "most": PRUNED_AT_ONCE}), "rowcount", 0))


def _named(claim: Claim) -> dict[str, int]:
    return {"id": claim[0], "claim": claim[1]}


def _apart(claims: Sequence[Claim]) -> dict[str, list[int]]:
    return {"ids": [id_ for id_, _ in claims], "claims": [claim for _, claim in claims]}


def _storable(sentence: str) -> str:
    """A sentence as PostgreSQL keeps text: whatever it quotes may hold NUL, and halves of characters that names of files have."""
    return sentence.replace("\0", "").encode(errors="replace").decode()


def _progress(told: dict[str, Any]) -> dict[str, Any]:
    return {name: told.get(name) for name in ("done", "total", "message")}
