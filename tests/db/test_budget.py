"""The arithmetic of connections: shares of a budget, sizes that win over it, and a sum that PostgreSQL must have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database
from service.db.budget import RELAY, RESERVE, Sizes, arithmetic, needed, offered, processes, refuse_excess, sizes
from service.errors import SetupError
from service.settings import Settings


def settings(**given: int) -> Settings:
    """Settings of which only these count; without workers, unless some are given."""
    return Settings(_env_file=None, **{"job_workers": 0, **given})  # type: ignore[arg-type]


def test_without_a_budget() -> None:
    assert sizes(settings()) == Sizes(6, 4)
    assert needed(settings()) == 6 + 4 + 1 + RESERVE
    assert needed(Settings(_env_file=None)) == 2 * (6 + 4 + 1) + RELAY + 3 + RESERVE  # one worker is counted


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"connection_budget": 25, "web_concurrency": 2}, Sizes(6, 4)),
        ({"connection_budget": 97, "web_concurrency": 4, "job_workers": 2}, Sizes(8, 5)),
        ({"connection_budget": 97, "web_concurrency": 4, "job_workers": 2, "job_slots": 1}, Sizes(8, 6)),
        ({"connection_budget": 97, "web_concurrency": 2, "job_workers": 4}, Sizes(7, 4)),
        ({"connection_budget": 6}, Sizes(1, 1)),
        ({"connection_budget": 11, "job_workers": 1}, Sizes(1, 1)),
        ({"connection_budget": 25, "web_concurrency": 2, "read_pool_size": 9}, Sizes(9, 1)),
        ({"connection_budget": 25, "web_concurrency": 2, "write_pool_size": 2}, Sizes(8, 2)),
        ({"connection_budget": 6, "web_concurrency": 9, "read_pool_size": 50, "write_pool_size": 50}, Sizes(50, 50)),
        ({"read_pool_size": 3}, Sizes(3, 4)),
        ({"write_pool_size": 3}, Sizes(6, 3)),
    ],
)
def test_shares_of_a_budget(given: dict[str, int], found: Sizes) -> None:
    assert sizes(settings(**given)) == found


@given(st.integers(6, 1000), st.integers(1, 20), st.integers(0, 20))
def test_a_budget_is_kept_and_used(budget: int, web: int, jobs: int) -> None:
    given = settings(connection_budget=budget, web_concurrency=web, job_workers=jobs)
    try:
        found = sizes(given)
    except SetupError:
        assert budget < 3 * (web + jobs) + (RELAY + 1) * jobs + RESERVE
        return
    assert min(found.reads, found.writes) >= 1
    assert needed(given) <= budget < needed(given) + processes(given) + jobs  # one more each has, where it is to write, a slot more


@pytest.mark.parametrize(
    "given",
    [
        {"connection_budget": 8, "web_concurrency": 2},
        {"connection_budget": 10, "job_workers": 1},
        {"connection_budget": 11, "job_workers": 1, "job_slots": 2},
        {"connection_budget": 25, "web_concurrency": 2, "read_pool_size": 10},
    ],
)
def test_a_budget_that_is_too_small_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(SetupError, match=f"SHELFMARK_CONNECTION_BUDGET={given['connection_budget']} is too small"):
        sizes(settings(**given))


def test_the_sum_shows_what_workers_need_besides() -> None:
    assert arithmetic(settings(job_workers=2)) == (
        "3 processes x (6 reads + 4 writes + 1 aside) + 2 workers x (1 relay + 3 slots) + 3 in reserve = 44 connections"
    )
    assert " + 1 worker x (1 relay + 1 slot) + 3 in reserve = 27 " in arithmetic(settings(job_workers=1, job_slots=1))


def test_what_postgresql_does_not_have_is_refused_with_the_sum() -> None:
    given = settings(web_concurrency=9)
    assert arithmetic(given) == "9 processes x (6 reads + 4 writes + 1 aside) + 3 in reserve = 102 connections"
    refuse_excess(given, 102)
    with pytest.raises(SetupError) as raised:
        refuse_excess(given, 97)
    assert str(raised.value).startswith(f"{arithmetic(given)}, and PostgreSQL offers 97. Set SHELFMARK_CONNECTION_BUDGET=97")


async def limited(session: AsyncSession, statement: str) -> int:
    """What is offered under a limit that is taken back."""
    await session.execute(text(statement))
    return await offered(session)


async def test_what_postgresql_offers(database: Database) -> None:
    async with database.writing() as unit:
        most = await offered(unit.session)
        kept = "SELECT current_setting('superuser_reserved_connections')::int"
        total = await unit.session.scalar(text("SELECT current_setting('max_connections')::int"))
        assert most == (total or 0) - int(await unit.session.scalar(text(kept)) or 0)
        name = await unit.session.scalar(text("SELECT quote_ident(current_database())"))
        assert await limited(unit.session, f"ALTER DATABASE {name} CONNECTION LIMIT 41") == 41
        assert await limited(unit.session, "ALTER ROLE CURRENT_USER CONNECTION LIMIT 40") == 40
        await unit.session.rollback()
