"""Whether a value fits its column, told before the database is asked: so that the refusal names the member, and costs nothing.

What only PostgreSQL can tell (a length, a precision, a check) is left to it.
"""

import datetime
import math
from collections.abc import Iterator
from typing import Any

from sqlalchemy import types

from service.db.wire import least_and_most, sound

DEEPEST = 100


def misfit(of: types.TypeEngine[Any], value: Any) -> str | None:
    """What PostgreSQL would refuse about a value of a column type, as a sentence's end; None for a value that fits."""
    if isinstance(of, types.Integer) and isinstance(value, int):
        least, most = least_and_most(of)
        return None if least <= value <= most else f"expected an integer from {least} to {most}"
    if isinstance(of, types.DateTime) and isinstance(value, datetime.datetime):
        return _misplaced(value, zoned=bool(of.timezone))
    if isinstance(of, types.String) and isinstance(value, str):
        return _unsound(value)
    return next(_of_json(value), None) if isinstance(of, types.JSON) else None


def _misplaced(moment: datetime.datetime, *, zoned: bool) -> str | None:
    """A time without a zone, where one is needed, would be read by the server's own clock."""
    if (moment.tzinfo is not None) == zoned:
        return None
    return f"expected a time {'with its' if zoned else 'without a'} zone, as 2026-01-31T12:00:00{'Z' if zoned else ''}"


def _unsound(text: str) -> str | None:
    try:
        sound(text)
    except ValueError as error:
        return str(error)
    return None


def _of_json(value: Any) -> Iterator[str]:
    """What is wrong inside a JSON value. Walked without recursion: a client chooses how deep it is."""
    left = [(value, 1)]
    while left:
        found, depth = left.pop()
        if depth > DEEPEST:
            yield f"it is nested more than {DEEPEST} levels deep"
        elif isinstance(found, dict):
            left += [(part, depth + 1) for pair in found.items() for part in pair]
        elif isinstance(found, list):
            left += [(part, depth + 1) for part in found]
        elif isinstance(found, float) and not math.isfinite(found):
            yield "JSON has no NaN and no infinity, and no number beyond 1.8e308"
        elif isinstance(found, str) and (wrong := _unsound(found)):
            yield wrong
