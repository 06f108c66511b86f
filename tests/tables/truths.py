"""What holds in the library's database at any time, whoever does what: each truth is a query for rows that break it."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

WAITED = """
waits AS (
    SELECT h.*, coalesce(h.ready_at, e.occurred_at, 'infinity') AS until
    FROM holds h LEFT JOIN events e ON e.kind = 'hold.cancelled' AND e.subject = 'holds/' || h.id
)"""
TRUTHS = {
    "a copy is lent once": "SELECT copy_id FROM loans WHERE returned_at IS NULL GROUP BY copy_id HAVING count(*) > 1",
    "a copy is lent while it has an open loan": """
        SELECT c.id, c.status FROM copies c
        WHERE (c.status = 'lent') <> EXISTS (SELECT FROM loans l WHERE l.copy_id = c.id AND l.returned_at IS NULL)""",
    "a copy is set aside for exactly one ready hold": """
        SELECT c.id, c.status FROM copies c
        WHERE (c.status = 'set_aside')::int <> (SELECT count(*) FROM holds h WHERE h.copy_id = c.id AND h.status = 'ready')""",
    "a ready hold has a copy of its book": """
        SELECT h.id FROM holds h LEFT JOIN copies c ON c.id = h.copy_id AND c.book_id = h.book_id
        WHERE h.status = 'ready' AND c.id IS NULL""",
    "a book that somebody waits for has no copy on the shelf": """
        SELECT c.book_id, c.id FROM copies c JOIN holds h ON h.book_id = c.book_id
        WHERE c.status = 'available' AND h.status = 'waiting'""",
    "nobody has more loans than they may": """
        SELECT member_id, count(*) FROM loans WHERE returned_at IS NULL GROUP BY member_id HAVING count(*) > 10""",
    "nobody holds a book twice": """
        SELECT book_id, member_id FROM holds WHERE status IN ('waiting', 'ready')
        GROUP BY book_id, member_id HAVING count(*) > 1""",
    "nobody waits for what they have at home": """
        SELECT h.id, l.id FROM holds h JOIN loans l USING (member_id) JOIN copies c ON c.id = l.copy_id AND c.book_id = h.book_id
        WHERE h.status IN ('waiting', 'ready') AND l.returned_at IS NULL""",
    "copies go to those who wait in the order in which they came": f"""
        WITH {WAITED} SELECT early.id, late.id FROM waits early JOIN waits late USING (book_id)
        WHERE (early.placed_at, early.id) < (late.placed_at, late.id)
        AND late.ready_at > early.placed_at AND early.until > late.ready_at""",
    "nobody borrows past those who wait": f"""
        WITH {WAITED} SELECT l.id, w.id FROM loans l JOIN copies c ON c.id = l.copy_id JOIN waits w ON w.book_id = c.book_id
        WHERE l.borrowed_at > w.placed_at AND l.borrowed_at < w.until
        AND NOT EXISTS (SELECT FROM holds own WHERE own.copy_id = l.copy_id AND own.member_id = l.member_id
                        AND own.status = 'fulfilled' AND own.ready_at < l.borrowed_at)""",
    "each act has its event, and each event its act": """
        WITH acts AS (
            SELECT 'loan.opened' AS kind, 'loans/' || id AS subject, 1 AS times FROM loans
            UNION ALL SELECT 'loan.returned', 'loans/' || id, 1 FROM loans WHERE returned_at IS NOT NULL
            UNION ALL SELECT 'loan.renewed', 'loans/' || id, renewals FROM loans WHERE renewals > 0
            UNION ALL SELECT 'hold.placed', 'holds/' || id, 1 FROM holds
            UNION ALL SELECT 'hold.ready', 'holds/' || id, 1 FROM holds WHERE ready_at IS NOT NULL
            UNION ALL SELECT 'hold.' || status, 'holds/' || id, 1 FROM holds WHERE status IN ('fulfilled', 'cancelled', 'expired')
        ), told AS (SELECT kind, subject, count(*) AS times FROM events GROUP BY kind, subject)
        SELECT kind, subject, acts.times, told.times FROM acts FULL JOIN told USING (kind, subject)
        WHERE acts.times IS DISTINCT FROM told.times""",
}


async def broken(connection: AsyncConnection) -> dict[str, list[Any]]:
    """The truths that don't hold, each with some of the rows that break it."""
    found = {truth: (await connection.execute(text(query + " LIMIT 5"))).all() for truth, query in TRUTHS.items()}
    return {truth: list(rows) for truth, rows in found.items() if rows}
