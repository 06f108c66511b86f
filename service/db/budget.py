"""How many connections each process may keep, from one budget over all of them, and whether PostgreSQL has as many.

Pure arithmetic, but for `offered`, which asks the database. A pool's size that is set wins over the budget.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.errors import SetupError
from service.settings import Settings

ASIDE = 1
"""Of each process, for health and the catalogue."""
RESERVE = 3
"""For a migration, for `shelfmark doctor`, and for a person with psql."""
LEAST = 2 + ASIDE
"""Of each process: one to read, one to write."""
OF_A_WORKER = 2
"""Of each process that runs jobs, besides: the relay's, and that of a file which is imported."""
READS, WRITES = 6, 4
"""Of each process, where neither a budget nor a size is set."""
SHARE_OF_READS = 0.6
OFFERED = text("""
    SELECT current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true), '0')::int,
           (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
           (SELECT datconnlimit FROM pg_database WHERE datname = current_database())
""")


@dataclass(frozen=True)
class Sizes:
    """The pools of one process."""

    reads: int
    writes: int

    @property
    def total(self) -> int:
        """All connections of one process."""
        return self.reads + self.writes + ASIDE


def sizes(settings: Settings) -> Sizes:
    """The pools of one process: as set, else a share of the budget, else the default.

    Raises:
        SetupError: the budget is too small for so many processes.
    """
    reads, writes = settings.read_pool_size, settings.write_pool_size
    if reads and writes:
        return Sizes(reads, writes)
    if settings.connection_budget is None:
        return Sizes(reads or READS, writes or WRITES)
    each = (settings.connection_budget - RESERVE - _of_workers(settings)) // processes(settings) - ASIDE
    found = _shared(each, reads, writes)
    if min(found.reads, found.writes) < 1:
        raise SetupError(
            f"SHELFMARK_CONNECTION_BUDGET={settings.connection_budget} is too small: {RESERVE} are kept in reserve, and each of "
            f"{_counted(settings)} needs at least {LEAST}: one to read, one to write, one for health. One that runs jobs "
            f"(SHELFMARK_JOB_WORKERS={settings.job_workers}) needs {OF_A_WORKER} more. Raise it, or run fewer processes."
        )
    return found


def processes(settings: Settings) -> int:
    """All processes that keep connections."""
    return settings.web_concurrency + settings.job_workers


def needed(settings: Settings) -> int:
    """All connections that the service may have at the same time."""
    return processes(settings) * sizes(settings).total + _of_workers(settings) + RESERVE


def arithmetic(settings: Settings) -> str:
    """The sum, as a part of a sentence: `2 processes x (6 reads + 4 writes + 1 aside) + 2 of 1 worker + 3 in reserve = 27 ...`."""
    found = sizes(settings)
    each = f"({found.reads} reads + {found.writes} writes + {ASIDE} aside)"
    jobs = f" + {_of_workers(settings)} of {_named(settings.job_workers, 'worker')}" if settings.job_workers else ""
    return f"{_counted(settings)} x {each}{jobs} + {RESERVE} in reserve = {needed(settings)} connections"


async def offered(session: AsyncSession) -> int:
    """How many connections PostgreSQL has for this role and this database."""
    server, role, database = (await session.execute(OFFERED)).one()
    return int(min(limit for limit in (server, role, database) if limit is not None and limit >= 0))


def refuse_excess(settings: Settings, most: int) -> None:
    """Check the sum against what PostgreSQL offers.

    Raises:
        SetupError: it is more.
    """
    if needed(settings) > most:
        raise SetupError(f"{arithmetic(settings)}, and PostgreSQL offers {most}. {_remedy(settings, most)}")


def _remedy(settings: Settings, most: int) -> str:
    """What to do where there are fewer connections than the service would have."""
    least = processes(settings) * LEAST + _of_workers(settings) + RESERVE
    if most < least:
        return (
            f"{_counted(settings)} can't do with fewer than {least}: raise max_connections, or what limits the role or the "
            "database (CONNECTION LIMIT), or run fewer processes (WEB_CONCURRENCY)."
        )
    sizes = "" if settings.read_pool_size is None and settings.write_pool_size is None else ", without sizes of pools,"
    return (
        f"Set SHELFMARK_CONNECTION_BUDGET={most}{sizes} to share those, run fewer processes (WEB_CONCURRENCY), or raise "
        "max_connections."
    )


def _shared(each: int, reads: int | None, writes: int | None) -> Sizes:
    """So many connections among reads and writes; what is set stays."""
    if reads:
        return Sizes(reads, each - reads)
    if writes:
        return Sizes(each - writes, writes)
    mine = min(max(round(each * SHARE_OF_READS), 1), each - 1)
    return Sizes(mine, each - mine)


def _of_workers(settings: Settings) -> int:
    """What all workers need besides what every process does."""
    return settings.job_workers * OF_A_WORKER


def _counted(settings: Settings) -> str:
    return _named(processes(settings), "process", "processes")


def _named(number: int, one: str, several: str = "") -> str:
    return f"{number} {one}" if number == 1 else f"{number} {several or f'{one}s'}"
