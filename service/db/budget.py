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
RELAY = 1
"""Of each process that runs jobs, besides. So is one for each of its slots, which a file that is imported has for itself."""
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
    for each in range(settings.connection_budget // processes(settings) - ASIDE, 1, -1):
        found = _shared(each, reads, writes)
        if min(found.reads, found.writes) >= 1 and _sum(settings, found) <= settings.connection_budget:
            return found
    raise SetupError(
        f"SHELFMARK_CONNECTION_BUDGET={settings.connection_budget} is too small: {RESERVE} are kept in reserve, and each of "
        f"{_counted(settings)} needs at least {LEAST}: one to read, one to write, one for health. One that runs jobs "
        f"(SHELFMARK_JOB_WORKERS={settings.job_workers}) needs {RELAY} more, and as many as it has slots. Raise it, or run fewer "
        "processes."
    )


def slots_of(settings: Settings, found: Sizes) -> int:
    """How many jobs a worker runs at the same time: each needs a connection to write, and leases are renewed on another one."""
    return settings.job_slots or max(1, found.writes - 1)


def processes(settings: Settings) -> int:
    """All processes that keep connections."""
    return settings.web_concurrency + settings.job_workers


def needed(settings: Settings) -> int:
    """All connections that the service may have at the same time."""
    return _sum(settings, sizes(settings))


def arithmetic(settings: Settings) -> str:
    """The sum, as a part of a sentence: `2 processes x (6 reads + 4 writes + 1 aside) + 1 worker x (1 relay + 3 slots) + ...`."""
    found = sizes(settings)
    each = f"({found.reads} reads + {found.writes} writes + {ASIDE} aside)"
    of_one = f"({RELAY} relay + {_named(slots_of(settings, found), 'slot')})"
    jobs = f" + {_named(settings.job_workers, 'worker')} x {of_one}" if settings.job_workers else ""
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
    least = _sum(settings, Sizes(1, 1))
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


def _sum(settings: Settings, found: Sizes) -> int:
    """All connections, where each process has pools of these sizes."""
    of_workers = settings.job_workers * (RELAY + slots_of(settings, found))
    return processes(settings) * found.total + of_workers + RESERVE


def _counted(settings: Settings) -> str:
    return _named(processes(settings), "process", "processes")


def _named(number: int, one: str, several: str = "") -> str:
    return f"{number} {one}" if number == 1 else f"{number} {several or f'{one}s'}"
