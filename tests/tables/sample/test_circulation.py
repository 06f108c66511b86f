"""Loans, holds and events: as lending would have left them."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.cli.sampling import UNTIL
from service.tables.rules import LendingRules
from tests.tables.truths import broken

RULES = LendingRules.model_construct()
DAY = f"timestamptz '{UNTIL} 00:00Z'"
BREACHES = {
    "loans of a copy don't overlap": """
        SELECT FROM loans a JOIN loans b USING (copy_id)
        WHERE a.id < b.id AND b.borrowed_at < coalesce(a.returned_at, 'infinity')""",
    "a copy isn't lent while it is set aside": """
        SELECT FROM holds h JOIN loans l USING (copy_id)
        WHERE h.status IN ('ready', 'expired') AND l.borrowed_at < h.expires_at
        AND coalesce(l.returned_at, 'infinity') > h.ready_at""",
    "a withdrawn copy is not at home": """
        SELECT FROM copies c JOIN loans l ON l.copy_id = c.id WHERE c.status = 'withdrawn' AND returned_at IS NULL""",
    "all of it has happened": f"""
        SELECT FROM loans WHERE borrowed_at >= {DAY} OR returned_at >= {DAY} OR returned_at <= borrowed_at
        UNION ALL SELECT FROM holds WHERE placed_at >= {DAY} OR ready_at < placed_at
        UNION ALL SELECT FROM events WHERE occurred_at >= {DAY}""",
    "a ready hold can still be fetched, an expired one can't": f"""
        SELECT FROM holds WHERE status = 'ready' AND expires_at <= {DAY} OR status = 'expired' AND expires_at > {DAY}""",
    "loans are due when the rules say": f"""
        SELECT FROM loans WHERE due_on <> (borrowed_at AT TIME ZONE 'UTC')::date + {RULES.loan_days} * (1 + renewals)
        OR renewals > {RULES.renewals_most}""",
    "rows are numbered as they began": """
        SELECT FROM loans a JOIN loans b ON b.id = a.id + 1 WHERE b.borrowed_at < a.borrowed_at
        UNION ALL SELECT FROM holds a JOIN holds b ON b.id = a.id + 1 WHERE b.placed_at < a.placed_at
        UNION ALL SELECT FROM events a JOIN events b ON b.id = a.id + 1 WHERE b.occurred_at < a.occurred_at""",
}


async def test_the_truths_of_lending(library: AsyncConnection) -> None:
    """No act of lending could tell that the library is invented."""
    assert await broken(library) == {}


@pytest.mark.parametrize("breach", BREACHES)
async def test_what_follows_from_them(library: AsyncConnection, breach: str) -> None:
    assert await library.scalar(text(f"SELECT count(*) FROM ({BREACHES[breach]}) AS found")) == 0


async def test_there_is_something_of_everything(library: AsyncConnection) -> None:
    statuses = "SELECT array_agg(DISTINCT status ORDER BY status) FROM "
    assert await library.scalar(text(statuses + "copies")) == ["available", "lent", "set_aside", "withdrawn"]
    assert await library.scalar(text(statuses + "holds")) == ["cancelled", "expired", "fulfilled", "ready", "waiting"]
    loans = text(f"""
        SELECT bool_or(due_on < date '{UNTIL}'), bool_or(due_on >= date '{UNTIL}'), bool_or(renewals > 0)
        FROM loans WHERE returned_at IS NULL""")
    assert (await library.execute(loans)).one() == (True, True, True)


async def test_members_are_of_one_culture(library: AsyncConnection) -> None:
    names = [name for (name,) in await library.execute(text("SELECT name FROM members"))]
    cyrillic = [[("\u0430" <= part[-1] <= "\u0451") for part in name.split()] for name in names]
    assert any(all(parts) for parts in cyrillic)
    assert all(all(parts) or not any(parts) for parts in cyrillic)
