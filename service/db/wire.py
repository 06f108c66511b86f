"""One wire format for each column type, in Python: how a value is written in JSON, in a cursor and in a URL, and read back.

`docs/reference/types.md` is the list for clients. Times are in UTC with `Z`, decimals are strings, bytes are base64url, intervals
seconds; NaN and infinity are null. Integers keep all their digits.
"""

import base64
import datetime
import decimal
import enum
import json
import math
import re
import uuid
from functools import lru_cache
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field, NaiveDatetime, TypeAdapter, ValidationError
from sqlalchemy import types
from sqlalchemy.dialects import postgresql

CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_timedelta="float")
BITS = {types.SmallInteger: 16, types.Integer: 32, types.BigInteger: 64}
CLOCK = r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?"
DAY = r"\d{4}-\d\d-\d\d"
SPELLED = {
    "integer": r"-?\d+",
    "decimal": r"-?\d+(\.\d+)?",
    "float": r"-?\d+(\.\d+)?([eE][-+]?\d+)?",
    "boolean": "true|false",
    "date": DAY,
    "time": CLOCK,
    "aware": rf"{DAY}[Tt ]{CLOCK}([Zz]|[-+]\d\d:\d\d)",
    "naive": rf"{DAY}[Tt ]{CLOCK}",
}


def render(content: Any) -> bytes:
    """JSON in the wire format, from dictionaries, lists and the values that the driver returns."""
    try:
        return orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z)
    except TypeError:  # an integer beyond 64 bits, from a jsonb column: rare, and no reason to lose its digits
        return json.dumps(_exact(content), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def clock(value: datetime.time) -> str:
    """A time of day. `render` must not be given one: orjson 3.13.0 writes 00:00:00.010000 as 00:00:00.10000."""
    return value.isoformat()


def _plain(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return format(value, "f") if value.is_finite() else None
    if isinstance(value, bytes | memoryview):
        return base64.urlsafe_b64encode(value).decode()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, uuid.UUID):  # asyncpg has a class of its own for them
        return str(value)
    raise TypeError(f"{type(value).__name__} has no wire format")


def _exact(content: Any) -> Any:
    """The same content made of what the standard library writes."""
    if isinstance(content, dict):
        return {key: _exact(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_exact(value) for value in content]
    if isinstance(content, int) and not isinstance(content, bool):
        return content
    return orjson.loads(orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z))


class Wire:
    """How clients write values of one column type in a URL and in a cursor.

    Attributes:
        called: what is expected, as a sentence goes on after "expected".
        spelled: what the text in a URL must match, where pydantic alone would read too much into it: 2020 as seconds since 1970.
    """

    def __init__(self, annotation: Any, called: str, spelled: str = "") -> None:
        self.called = called
        self.spelled = SPELLED.get(spelled)
        self._matches = re.compile(self.spelled, re.ASCII).fullmatch if self.spelled else None
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=CONFIG)

    def parse(self, text: str) -> Any:
        """A value from a URL.

        Raises:
            ValueError: it is none of this type; the message says what was expected.
        """
        try:
            if self._matches is None or self._matches(text):
                return _finite(self._adapter.validate_strings(text))
        except ValidationError as error:
            reason = error.errors(include_url=False, include_input=False)[0].get("ctx", {}).get("error")
            if isinstance(reason, ValueError):
                raise reason from None
        except (OverflowError, UnicodeError):
            pass
        raise ValueError(f"expected {self.called}")

    def dump(self, value: Any) -> Any:
        """A value as JSON takes it, to be loaded again: unlike in an answer, NaN and infinity are kept, as text."""
        if type(value) is int or type(value) is str:  # most keys are one of them
            return value
        if isinstance(value, datetime.time):
            return clock(value)
        return orjson.loads(render(value)) if _is_finite(value) else str(value)

    def load(self, value: Any) -> Any:
        """A value that `dump` made.

        Raises:
            ValueError: it isn't of this type.
        """
        return None if value is None else self._adapter.validate_json(json.dumps(value))

    def schema(self) -> dict[str, Any]:
        """The JSON schema of a value."""
        return self._adapter.json_schema(mode="serialization")


def sound(text: str) -> str:
    """Text that PostgreSQL can store.

    Raises:
        ValueError: it holds a character that PostgreSQL can't.
    """
    if "\0" in text:
        raise ValueError("text can't hold the character U+0000")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("text can't hold half of a surrogate pair") from None
    return text


def _is_finite(value: Any) -> bool:
    if isinstance(value, decimal.Decimal):
        return value.is_finite()
    return not isinstance(value, float) or math.isfinite(value)


def _finite(value: Any) -> Any:
    if not _is_finite(value):
        raise ValueError("expected a finite number")
    return value


def _seconds(value: Any) -> Any:
    """A number of seconds in a URL; pydantic would ask for ISO 8601."""
    return float(value) if isinstance(value, str) else value


@lru_cache(maxsize=256)
def wire(of: types.TypeEngine[Any]) -> Wire | None:
    """The wire format of a column type, or None where clients can't name its values in a URL (JSON, arrays)."""
    if isinstance(of, types.Integer):
        return _integer(of)
    if isinstance(of, types.Enum):
        return _enum(of)
    if isinstance(of, types.DateTime):
        return _aware() if of.timezone else _naive()
    if isinstance(of, types.Uuid) and not of.as_uuid:
        return Wire(Annotated[str, AfterValidator(_as_uuid)], "a UUID")
    for kind, (annotation, called, spelled) in PLAIN.items():
        if isinstance(of, kind):
            return Wire(annotation, called, spelled)
    return None


@lru_cache(maxsize=256)
def least_and_most(of: types.Integer) -> tuple[int, int]:
    """The range of an integer type."""
    bits = next(BITS[kind] for kind in (types.SmallInteger, types.BigInteger, types.Integer) if isinstance(of, kind))
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _integer(of: types.Integer) -> Wire:
    least, most = least_and_most(of)
    return Wire(Annotated[int, Field(ge=least, le=most)], f"an integer from {least} to {most}", "integer")


def _enum(of: types.Enum) -> Wire:
    if isinstance(of.enum_class, type) and issubclass(of.enum_class, enum.Enum):
        return Wire(of.enum_class, "one of " + ", ".join(str(member.value) for member in of.enum_class))
    return Wire(Annotated[str, AfterValidator(_one_of(of.enums))], "one of " + ", ".join(of.enums))


def _one_of(values: list[str]) -> Any:
    def check(value: str) -> str:
        if value not in values:
            raise ValueError(f"expected one of {', '.join(values)}")
        return value

    return check


def _as_uuid(value: str) -> str:
    """A UUID that Python has as text, in the one way in which SQLAlchemy writes it."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise ValueError("expected a UUID") from None


class _Zoned(Wire):
    """Moments with a zone, which the driver's infinity hasn't."""

    def dump(self, value: Any) -> Any:
        return super().dump(value.replace(tzinfo=datetime.UTC) if value is not None and value.tzinfo is None else value)


def _aware() -> Wire:
    return _Zoned(AwareDatetime, "a time with its zone, as 2026-01-31T12:00:00Z (a + is written %2B in a URL)", "aware")


def _naive() -> Wire:
    return Wire(NaiveDatetime, "a time without a zone, as 2026-01-31T12:00:00", "naive")


PLAIN: dict[Any, tuple[Any, str, str]] = {
    types.String: (Annotated[str, AfterValidator(sound)], "text", ""),
    types.Boolean: (bool, "true or false", "boolean"),
    types.Float: (float, "a number", "float"),
    types.Numeric: (Annotated[decimal.Decimal, Field(allow_inf_nan=True)], "a decimal number, as 12.50", "decimal"),
    types.Date: (datetime.date, "a date, as 2026-01-31", "date"),
    types.Time: (datetime.time, "a time of day, as 12:00:00", "time"),
    types.Uuid: (uuid.UUID, "a UUID", ""),
    types.LargeBinary: (bytes, "bytes in base64url", ""),
    (types.Interval, postgresql.INTERVAL): (
        Annotated[datetime.timedelta, BeforeValidator(_seconds)],
        "a number of seconds, as 90.5",
        "float",
    ),
}
