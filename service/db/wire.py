"""One wire format for each column type, in Python: how a value is written in JSON, in a cursor and in a URL, and read back.

`docs/reference/types.md` is the list for clients. Times are in UTC with `Z`, decimals are strings, bytes are base64url, intervals
seconds; NaN and infinity are null. Integers keep all their digits.
"""

import base64
import datetime
import decimal
import enum
import json
import uuid
from functools import lru_cache
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, NaiveDatetime, TypeAdapter, ValidationError
from sqlalchemy import types

CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_timedelta="float")
BITS = {types.SmallInteger: 16, types.Integer: 32, types.BigInteger: 64}
LAST_CHARACTER = "\U0010ffff"


def render(content: Any) -> bytes:
    """JSON in the wire format, from dictionaries, lists and the values that the driver returns."""
    try:
        return orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z)
    except TypeError:  # an integer beyond 64 bits, from a jsonb column: rare, and no reason to lose its digits
        return json.dumps(_exact(content), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return format(value, "f") if value.is_finite() else None
    if isinstance(value, bytes | memoryview):
        return base64.urlsafe_b64encode(value).decode()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
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
    """How clients write values of one column type in a URL and in a cursor."""

    def __init__(self, annotation: Any, called: str) -> None:
        self.annotation = annotation
        self.called = called
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=CONFIG)

    def parse(self, text: str) -> Any:
        """A value from a URL.

        Raises:
            ValueError: it is none of this type; the message says what was expected.
        """
        try:
            return self._adapter.validate_strings(text)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"expected {self.called}: {found['msg'][:1].lower()}{found['msg'][1:]}") from None

    def dump(self, value: Any) -> Any:
        """A value as JSON takes it."""
        return self._adapter.dump_python(value, mode="json")

    def load(self, value: Any) -> Any:
        """A value that `dump` made."""
        return None if value is None else self._adapter.validate_json(json.dumps(value))

    def schema(self) -> dict[str, Any]:
        """The JSON schema of a value."""
        return self._adapter.json_schema(mode="serialization")


def _sound(text: str) -> str:
    """Text that PostgreSQL can store, and that has a successor to end a prefix with."""
    if "\0" in text or LAST_CHARACTER in text:
        raise ValueError("text can't hold the characters U+0000 and U+10FFFF")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("text can't hold half of a surrogate pair")
    return text


@lru_cache(maxsize=256)
def wire(of: types.TypeEngine[Any]) -> Wire | None:
    """The wire format of a column type, or None where clients can't name its values in a URL (JSON, arrays)."""
    for bits_of in (types.SmallInteger, types.BigInteger, types.Integer):
        if isinstance(of, bits_of):
            bits = BITS[bits_of]
            return Wire(Annotated[int, Field(ge=-(2 ** (bits - 1)), lt=2 ** (bits - 1))], "an integer")
    if isinstance(of, types.Enum):
        return _enum(of)
    if isinstance(of, types.DateTime):
        return Wire(AwareDatetime, "a time with its zone, as 2026-01-31T12:00:00Z") if of.timezone else _naive()
    for kind, (annotation, called) in PLAIN.items():
        if isinstance(of, kind):
            return Wire(annotation, called)
    return None


def _enum(of: types.Enum) -> Wire:
    if isinstance(of.enum_class, type) and issubclass(of.enum_class, enum.Enum):
        return Wire(of.enum_class, "one of " + ", ".join(str(member.value) for member in of.enum_class))
    return Wire(Annotated[str, AfterValidator(_one_of(of.enums))], "one of " + ", ".join(of.enums))


def _one_of(values: list[str]) -> Any:
    def check(value: str) -> str:
        if value not in values:
            raise ValueError("no such value")
        return value

    return check


def _naive() -> Wire:
    return Wire(NaiveDatetime, "a time without a zone, as 2026-01-31T12:00:00")


PLAIN: dict[type[types.TypeEngine[Any]], tuple[Any, str]] = {
    types.String: (Annotated[str, AfterValidator(_sound)], "text"),
    types.Boolean: (bool, "true or false"),
    types.Float: (Annotated[float, Field(allow_inf_nan=False)], "a number"),
    types.Numeric: (Annotated[decimal.Decimal, Field(allow_inf_nan=False)], "a decimal number"),
    types.Date: (datetime.date, "a date, as 2026-01-31"),
    types.Time: (datetime.time, "a time of day, as 12:00:00"),
    types.Uuid: (uuid.UUID, "a UUID"),
    types.LargeBinary: (bytes, "bytes in base64url"),
    types.Interval: (datetime.timedelta, "seconds"),
}
