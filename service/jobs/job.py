"""A job: a function that is done once, later, by a worker; and how it is asked for.

    @job(name="books.recount", attempts=5, lease=30.0)
    async def recount(run: Run, *, language: str) -> int: ...

    async with database.writing():
        await enqueue(recount, language="eng")

The job is a row of the transaction that asks for it: it is there exactly if that is committed. Arguments are checked against the
function's annotations when it is asked for and again before it runs, since another version of the code may have asked.
"""

import datetime
import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, get_type_hints

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from service.db.unit import current
from service.errors import SetupError, ShelfmarkError

if TYPE_CHECKING:
    from service.jobs.running import Run

P = ParamSpec("P")
ATTEMPTS, LEASE_SECONDS, TIMEOUT_SECONDS = 5, 30.0, 3600.0
LEAST_LEASE_SECONDS = 3.0
TRIES = 5
SUBJECT = "jobs"
"""The first part of what the outbox calls a job: `jobs/7`."""
ADD = text("""
WITH job AS (
  INSERT INTO shelfmark_jobs (name, args, key, asked_by, attempts, lease, due_at)
  VALUES (:name, :args, CAST(:key AS text), :asked_by, :attempts, :lease, clock_timestamp() + :after)
  ON CONFLICT (key) WHERE key IS NOT NULL AND state IN ('queued', 'running') DO NOTHING
  RETURNING id
), noted AS (
  INSERT INTO shelfmark_outbox (subject, what) SELECT 'jobs/' || id, 'created' FROM job
)
SELECT id FROM job
UNION ALL SELECT id FROM shelfmark_jobs WHERE key = CAST(:key AS text) AND state IN ('queued', 'running')
LIMIT 1
""").bindparams(bindparam("args", type_=JSONB))


class Refused(ShelfmarkError):
    """A job can't be done, and trying again would not mend that: it ends as failed, with this sentence."""


@dataclass(frozen=True)
class Job(Generic[P]):
    """A function that workers run.

    Attributes:
        name: by which rows call it; it outlives the function's own name.
        attempts: how many runs may end without progress before it is given up.
        lease: seconds after which a run that says nothing is taken for dead, and another begins.
        timeout: seconds that one run may take; None: as long as it likes.
    """

    name: str
    function: Callable[Concatenate["Run", P], Coroutine[Any, Any, Any]]
    attempts: int = ATTEMPTS
    lease: float = LEASE_SECONDS
    timeout: float | None = TIMEOUT_SECONDS
    arguments: type[msgspec.Struct] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse a function whose arguments can't be checked."""
        if self.attempts < 1 or self.lease < LEAST_LEASE_SECONDS:
            raise SetupError(f"The job {self.name} needs at least one attempt, and a lease of three seconds or more.")
        object.__setattr__(self, "arguments", _arguments(self.name, self.function))

    def written(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments as a row keeps them.

        Raises:
            TypeError: they aren't what the function takes.
        """
        try:
            return dict(msgspec.to_builtins(msgspec.convert(msgspec.to_builtins(dict(args)), self.arguments)))
        except (msgspec.ValidationError, TypeError) as error:
            raise TypeError(f"{self.name} can't be called like that: {error}") from None

    def read(self, args: Any) -> dict[str, Any]:
        """Arguments as the function takes them.

        Raises:
            Refused: they are those of another function.
        """
        try:
            found = msgspec.convert(args, self.arguments)
        except msgspec.ValidationError as error:
            raise Refused(f"Its arguments can't be read by this version of {self.name}: {error}.") from None
        return {name: getattr(found, name) for name in found.__struct_fields__}


@dataclass(frozen=True)
class How:
    """How a job is asked for.

    Attributes:
        key: as long as an open job has it, that one is meant, and none is added.
        after: how much later it is to run.
        asked_by: the prefix of the API key that wants it; empty: the service itself.
    """

    key: str | None = None
    after: datetime.timedelta = datetime.timedelta(0)
    asked_by: str = ""


def job(
    *, name: str, attempts: int = ATTEMPTS, lease: float = LEASE_SECONDS, timeout: float | None = TIMEOUT_SECONDS
) -> Callable[[Callable[Concatenate["Run", P], Coroutine[Any, Any, Any]]], Job[P]]:
    """Make a job of an async function. Its first argument is its `Run`; the others have names, and types that JSON can hold.

    Raises:
        SetupError: an argument has no type, or can't be passed by name.
    """

    def made(function: Callable[Concatenate["Run", P], Coroutine[Any, Any, Any]]) -> Job[P]:
        return Job(name, function, attempts, lease, timeout)

    return made


async def enqueue(work: Job[P], how: How | None = None, /, *args: P.args, **named: P.kwargs) -> int:
    """Ask for a job, in the unit of work that this is called in; its id.

    Args:
        work: the job.
        how: when, for whom, and whether one of them is enough.
        args: none: arguments are given by name.
        named: what its function takes.

    Raises:
        RuntimeError: no unit of work is open.
        TypeError: these aren't its arguments.
    """
    unit, how = current(), how or How()
    if args:
        raise TypeError(f"{work.name} takes its arguments by name.")
    values = {
        "name": work.name,
        "args": work.written(named),
        "key": how.key,
        "asked_by": how.asked_by,
        "attempts": work.attempts,
        "lease": work.lease,
        "after": how.after,
    }
    unit.told = True
    for _ in range(TRIES):  # one that ended a moment ago, seen by the INSERT and not by the SELECT
        found = await unit.session.scalar(ADD, values)
        if found is not None:
            return int(found)
    raise RuntimeError(f"Jobs with the key {how.key!r} come and go too quickly.")


def _arguments(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    """What a function takes, besides its run, as a type that can be checked."""
    if not inspect.iscoroutinefunction(function):
        raise SetupError(f"The job {name} must be an async function.")
    hints, parameters = get_type_hints(function, localns={"Run": object}), inspect.signature(function).parameters
    fields: list[Any] = []
    for parameter in list(parameters.values())[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name not in hints:
            raise SetupError(f"The job {name} takes {parameter.name}: declare it by name only (after *), and with its type.")
        required = parameter.default is parameter.empty
        fields.append((parameter.name, hints[parameter.name], *(() if required else (parameter.default,))))
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
