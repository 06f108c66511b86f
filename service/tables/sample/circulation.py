"""What happens in an invented library: members, their loans and holds, and an event for each act.

A copy's past is cut into slots that end about the sample's day; in a slot it is set aside at most once, lent once and returned, and
set aside in vain at most once, so that no two of these overlap. What is open on that day comes after the last slot: a copy that is
lent has one open loan, a copy that is set aside one hold that is ready. Copies are set aside from the shelf, as soon as somebody
asks; only the sought books have holds that wait, all of them placed in the last few days, in which nothing moved in these books. So
nobody is passed by. Members come in turns for open loans, the first quarter of them oftener: nobody has more than a handful.
"""

import datetime
from collections.abc import Iterator

from service.tables.rules import LendingRules
from service.tables.sample.draws import draw, pick, skewed, spans
from service.tables.sample.holdings import culture, cultures, demand, person, sought

RULES = LendingRules.model_construct()  # as they are unless somebody sets them
BOOKS_PER_MEMBER = 5
FEWEST_MEMBERS = 60
MOST_LOANS = 24
LOAN_DAYS = RULES.loan_days
LATE_DAYS = 2
RENEWED_AFTER_DAYS = LOAN_DAYS // 2
BEGIN_DAYS = 4  # of a slot: a copy that was set aside lies there at most so long, and is lent within as many days
QUEUE_DAYS = 4
IDLE_DAYS = BEGIN_DAYS + RULES.hold_days  # at the end of a slot the copy is back
SLOT_DAYS = BEGIN_DAYS * 2 + LOAN_DAYS + LATE_DAYS + RENEWED_AFTER_DAYS + IDLE_DAYS
STEP = 611_953  # a prime above every number of members: stepping by it meets each member once
GIVEN, FAMILY, TURN, TIMES, SHIFT, AFTER, OUT, RENEWED, READER, BORROWED, RETURNED = range(101, 112)
QUEUE, WAITERS, READY, PLACED, CALLED_FOR, LAPSED, OTHER, GIVEN_UP, ORIGIN = range(112, 121)


def members(books: int, _until: datetime.date) -> Iterator[str]:
    """One for each five books."""
    given, family = (
        f"{names}[1 + {pick('id', salt, f'cardinality({names})')}]" for names, salt in (("given", GIVEN), ("family", FAMILY))
    )
    for span in spans(_members(books)):
        yield f"""
            INSERT INTO members (id, email, name)
            SELECT id, 'reader.' || id || '@members.example', {person(given, family)}
            FROM {span} JOIN {cultures()} ON number = {culture("id", ORIGIN)}"""


def loans(books: int, until: datetime.date) -> Iterator[str]:
    """Open ones for the copies that are lent, and returned ones, numbered as they began."""
    yield f"""
        INSERT INTO loans (id, copy_id, member_id, borrowed_at, due_on, returned_at, renewals)
        SELECT row_number() OVER (ORDER BY borrowed_at, copy_id), copy_id, member_id, borrowed_at,
               (borrowed_at AT TIME ZONE 'UTC')::date + {LOAN_DAYS} * (1 + renewals), returned_at, renewals
        FROM ({_open(books, until)} UNION ALL {_returned(books, until)}) AS loan"""


def holds(books: int, until: datetime.date) -> Iterator[str]:
    """Waiting and ready ones, and those that a loan fulfilled, that lapsed or were given up."""
    yield f"""
        INSERT INTO holds (id, book_id, member_id, copy_id, placed_at, status, ready_at, expires_at)
        SELECT row_number() OVER (ORDER BY placed_at, book_id, member_id, copy_id), book_id, member_id, copy_id, placed_at, status,
               CASE WHEN copy_id IS NOT NULL THEN placed_at END,
               CASE WHEN copy_id IS NOT NULL THEN placed_at + interval '{RULES.hold_days} days' END
        FROM ({_active(books, until)} UNION ALL {_fulfilled()} UNION ALL {_ended(books, until)}) AS hold"""


def events(_books: int, _until: datetime.date) -> Iterator[str]:
    """One for each act, numbered as they happened."""
    payload = "'book_id', book_id, 'copy_id', copy_id, 'member_id', member_id, 'due_on', due_on"
    yield f"""
        INSERT INTO events (id, occurred_at, kind, subject, payload)
        SELECT row_number() OVER (ORDER BY occurred_at, kind, number), occurred_at, kind, subject || number,
               jsonb_strip_nulls(jsonb_build_object({payload}))
        FROM ({_loan_acts()} UNION ALL {_hold_acts()})
             AS act (occurred_at, kind, subject, number, book_id, copy_id, member_id, due_on)"""


def book_statistics(_books: int, until: datetime.date) -> Iterator[str]:
    """One for each book, counted on the day on which the library is seen."""
    yield f"""
        INSERT INTO book_statistics (id, book_id, loans, waiting, counted_at)
        SELECT id, id, coalesce(lent.loans, 0), coalesce(wanted.waiting, 0), TIMESTAMPTZ '{until.isoformat()}Z'
        FROM books
        LEFT JOIN (SELECT book_id, count(*) AS loans FROM copies JOIN loans ON copy_id = copies.id GROUP BY book_id) AS lent
            ON lent.book_id = id
        LEFT JOIN (SELECT book_id, count(*) AS waiting FROM holds WHERE status = 'waiting' GROUP BY book_id) AS wanted
            ON wanted.book_id = id"""


def _members(books: int) -> int:
    return max(FEWEST_MEMBERS, books // BOOKS_PER_MEMBER)


def _open(books: int, until: datetime.date) -> str:
    count = _members(books)
    member = f"1 + turn / 2 % CASE turn % 2 WHEN 0 THEN {count // 4} ELSE {count} END"
    renewed = f"CASE WHEN out > {RENEWED_AFTER_DAYS + QUEUE_DAYS} AND {draw('copy_id', RENEWED)} < 0.6 THEN 1 ELSE 0 END"
    return f"""
        SELECT copy_id, {member} AS member_id, {_opened(_before(until, "out"), "copy_id", BORROWED)} AS borrowed_at,
               NULL::timestamptz AS returned_at, {renewed} AS renewals
        FROM (SELECT id AS copy_id, {QUEUE_DAYS + 1} + {skewed("id", OUT, 40, 2)} AS out,
                     row_number() OVER (ORDER BY {draw("id", TURN)}, id) AS turn
              FROM copies WHERE status = 'lent') AS lent"""


def _returned(books: int, until: datetime.date) -> str:
    times = f"least({MOST_LOANS}, floor(1.1 * power({demand('book_id', books)}, 0.3) * {draw('id', TIMES)})::int)"
    closed = f"{pick('id', SHIFT, SLOT_DAYS)} - {IDLE_DAYS} + CASE status WHEN 'available' THEN 0 ELSE {SLOT_DAYS} END"
    key = f"(copy_id * {MOST_LOANS} + slot)"
    renewals = f"(CASE WHEN {draw(key, RENEWED)} < 0.2 THEN 1 ELSE 0 END)"
    day = f"({_before(until, f'closed + {SLOT_DAYS} * (slot + 1) - {BEGIN_DAYS} - {pick(key, AFTER, BEGIN_DAYS)}')})"
    back = f"{day} + (1 + {pick(key, OUT, LOAN_DAYS + LATE_DAYS)} + {RENEWED_AFTER_DAYS} * {renewals})::int"
    return f"""
        SELECT copy_id, 1 + {skewed(key, READER, _members(books), 1.7)}, {_opened(day, key, BORROWED)},
               {_opened(back, key, RETURNED)}, {renewals}
        FROM (SELECT id AS copy_id, {closed} AS closed, {times} AS times FROM copies) AS copy,
             generate_series(0, times - 1) AS slot"""


def _loan_acts() -> str:
    first_due = f"due_on - {LOAN_DAYS} * renewals"
    return " UNION ALL ".join(
        f"SELECT {at}, 'loan.{act}', 'loans/', id, NULL::bigint, copy_id, member_id, {due} FROM loans WHERE {when}"
        for act, at, due, when in (
            ("opened", "borrowed_at", first_due, "true"),
            ("renewed", f"borrowed_at + interval '{RENEWED_AFTER_DAYS} days'", "due_on", "renewals > 0"),
            ("returned", "returned_at", "NULL", "returned_at IS NOT NULL"),
        )
    )


def _hold_acts() -> str:
    loan = """JOIN loans ON loans.copy_id = holds.copy_id AND loans.member_id = holds.member_id
              AND borrowed_at BETWEEN ready_at AND expires_at"""
    return " UNION ALL ".join(
        f"""SELECT {at}, 'hold.{act}', 'holds/', holds.id, book_id, {copy}, holds.member_id, NULL
            FROM holds {loan if act == "fulfilled" else ""} WHERE {when}"""
        for act, at, copy, when in (
            ("placed", "placed_at", "NULL", "true"),
            ("ready", "ready_at", "copy_id", "ready_at IS NOT NULL"),
            ("fulfilled", "borrowed_at", "holds.copy_id", "status = 'fulfilled'"),
            ("expired", "expires_at", "copy_id", "status = 'expired'"),
            ("cancelled", f"placed_at + {_days(draw('id', GIVEN_UP), RULES.hold_days)}", "copy_id", "status = 'cancelled'"),
        )
    )


def _active(books: int, until: datetime.date) -> str:
    """A queue for each book: the first have their copies set aside, the others wait."""
    latest = f"CASE waiting WHEN 0 THEN 0 ELSE {QUEUE_DAYS} END"
    ready = (
        f"interval '1 day' * ({latest} + {draw('book_id', READY)} + {RULES.hold_days - QUEUE_DAYS - 1} * (1 - n::float8 / ready))"
    )
    waits = f"interval '{QUEUE_DAYS} days' * (1 - (n - ready - {draw('book_id', PLACED)}) / (waiting + 1))"
    return f"""
        SELECT book_id, member_id, aside[n] AS copy_id, {_midnight(until)} - CASE WHEN n > ready THEN {waits} ELSE {ready} END
               AS placed_at, CASE WHEN n > ready THEN 'waiting' ELSE 'ready' END AS status
        FROM ({_queues(books)}) AS queue WHERE n <= ready + waiting"""


def _queues(books: int) -> str:
    """Members in the order in which they come for a book, without those who have it at home."""
    count = _members(books)
    member = f"({pick('book_id', QUEUE, count)} + step * {STEP}) % {count} + 1"
    return f"""
        SELECT candidate.*, row_number() OVER (PARTITION BY book_id ORDER BY step) AS n
        FROM (SELECT book.*, step, {member} AS member_id
              FROM ({_wanted(books)}) AS book, generate_series(1, ready + waiting + lent) AS step) AS candidate
        WHERE NOT EXISTS (SELECT FROM loans JOIN copies ON copies.id = copy_id
                          WHERE returned_at IS NULL AND copies.book_id = candidate.book_id
                          AND loans.member_id = candidate.member_id)"""


def _wanted(books: int) -> str:
    """The books that somebody waits for or may fetch: how many wait, and the copies that are set aside."""
    return f"""
        SELECT book_id, aside, cardinality(aside) AS ready, lent,
               CASE WHEN {sought("book_id", books)} THEN 1 + {skewed("book_id", WAITERS, 8, 2)} ELSE 0 END AS waiting
        FROM (SELECT book_id, coalesce(array_agg(id ORDER BY id) FILTER (WHERE status = 'set_aside'), '{{}}') AS aside,
                     count(*) FILTER (WHERE status = 'lent') AS lent
              FROM copies WHERE status IN ('lent', 'set_aside') GROUP BY book_id) AS kept
        WHERE cardinality(aside) > 0 OR {sought("book_id", books)}"""


def _fulfilled() -> str:
    return f"""
        SELECT book_id, member_id, copy_id, borrowed_at - {_days(draw("loans.id", READY), BEGIN_DAYS - 1)}, 'fulfilled'
        FROM loans JOIN copies ON copies.id = copy_id WHERE {draw("loans.id", CALLED_FOR)} < 0.06"""


def _ended(books: int, until: datetime.date) -> str:
    """Copies that were back for a day at most when they were set aside, and then not fetched, or not wanted any more."""
    lapsed = draw("loans.id", LAPSED)
    return f"""
        SELECT book_id, 1 + {pick("loans.id", OTHER, _members(books))}, copy_id, returned_at + {_days(draw("loans.id", PLACED), 1)},
               CASE WHEN {lapsed} < 0.02 THEN 'expired' ELSE 'cancelled' END
        FROM loans JOIN copies ON copies.id = copy_id
        WHERE returned_at < {_midnight(until)} - interval '{RULES.hold_days + 1} days' AND {lapsed} < 0.05"""


def _midnight(day: datetime.date) -> str:
    return f"timestamptz '{day} 00:00Z'"


def _before(until: datetime.date, days: str) -> str:
    """The date so many days before."""
    return f"date '{until}' - ({days})::int"


def _opened(day: str, key: str, salt: int) -> str:
    """A moment of that date at which a library is open, by UTC."""
    return f"(({day})::timestamp AT TIME ZONE 'UTC' + interval '9 hours' + interval '10 hours' * {draw(key, salt)})"


def _days(share: str, most: int) -> str:
    """Up to so many days."""
    return f"interval '{most} days' * {share}"
