"""What PostgreSQL would refuse is known before it is asked."""

import datetime
from typing import Any

import pytest
from sqlalchemy import types
from sqlalchemy.dialects.postgresql import JSONB

from service.db.fitting import DEEPEST, misfit


def nested(levels: int) -> Any:
    """A list in a list in a list."""
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


FITS = [
    (types.SmallInteger(), 2**15 - 1),
    (types.Integer(), -(2**31)),
    (types.BigInteger(), 2**63 - 1),
    (types.Integer(), None),
    (types.DateTime(timezone=True), datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)),
    (types.DateTime(), datetime.datetime(2026, 1, 31)),  # noqa: DTZ001
    (types.Text(), "\U0010ffff"),
    (types.Numeric(), 10**30),
    (JSONB(), {"a": [10**30, 0.5, None, True, "é"]}),
    (JSONB(), nested(DEEPEST - 1)),
    (JSONB(), None),
]
MISFITS = [
    (types.SmallInteger(), 2**15, "32767"),
    (types.DateTime(timezone=True), datetime.datetime(2026, 1, 31), "with its zone"),  # noqa: DTZ001
    (types.DateTime(), datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC), "without a zone"),
    (types.Integer(), -(2**31) - 1, "-2147483648"),
    (types.BigInteger(), 2**63, "9223372036854775807"),
    (types.Text(), "\0", "U+0000"),
    (types.String(5), "\udfff", "surrogate"),
    (JSONB(), {"a": {"\0": 1}}, "U+0000"),
    (JSONB(), ["\ud800"], "surrogate"),
    (JSONB(), {"a": float("nan")}, "NaN"),
    (JSONB(), [float("-inf")], "infinity"),
    (JSONB(), nested(DEEPEST), "levels"),
    (JSONB(), nested(100_000), "levels"),
]


@pytest.mark.parametrize(("of", "value"), FITS, ids=range(len(FITS)))
def test_what_fits_is_let_through(of: types.TypeEngine[Any], value: Any) -> None:
    assert misfit(of, value) is None


@pytest.mark.parametrize(("of", "value", "said"), MISFITS, ids=range(len(MISFITS)))
def test_what_doesnt_fit_is_told(of: types.TypeEngine[Any], value: Any, said: str) -> None:
    assert said in str(misfit(of, value))
