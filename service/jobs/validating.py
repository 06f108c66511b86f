"""Records become rows: headers are matched to a shape's fields, values validated, the rest kept as extras.

This is where the processor's time of an import goes: a file's headers are matched once, each row then costs one pass over its
values, one validation and one JSON document.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from service.errors import SetupError
from service.jobs.reading import Record, Records
from service.jobs.shaping import Import, Reference, limits

Row = tuple[Any, ...]
Accepted = Mapping[str, Sequence[str]]
PLANNED_MOST = 50_000
"""Names in all the plans that are kept: NDJSON may name its values anew in every line."""
SHOWN = 60
TOO_DEEP = "it is nested too deeply"


class Refused(Exception):
    """A record that can't become a row; the message is a sentence for people."""


class Validator:
    """Makes rows of one import.

    Attributes:
        seen: the fields that the file gives so far, by header or by a validator; columns beyond them are left alone.
    """

    def __init__(self, declared: Import) -> None:
        self._declared = declared
        self._accepted = declared.accepted()
        self._filled: Callable[[Any], object] = _not_blank
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._planned = 0
        self._columns = [column.name for column in declared.columns]
        self._ranges = [(column.name, *found) for column in declared.columns if (found := limits(column))]
        self.seen: set[str] = set()

    def check(self, records: Records, name: str) -> None:
        """Refuse a file whose header line can't serve.

        Raises:
            SetupError: no header is known, or one is missing without which every row would be rejected.
        """
        if records.headers is None:
            return
        self._filled = str.strip
        given = self._plan(records.headers).given
        if not given:
            known = ", ".join(header for headers in self._accepted.values() for header in headers)
            raise SetupError(f"{name}: the first line has no header that is known. Known are: {known}.")
        for field in self._declared.required():
            if field not in given:
                raise SetupError(f"{name}: no column for {field}. Its header may be: {', '.join(self._accepted[field])}.")

    def row(self, record: Record) -> Row:
        """A record as a row of the staging table: line, key, names of references, columns, extras.

        Raises:
            Refused: it has a fault, a value is wrong, or a required one is missing.
        """
        if record.fault:
            raise Refused(record.fault)
        try:
            return self._shaped(record)
        except RecursionError:
            raise Refused(TOO_DEEP) from None

    def _shaped(self, record: Record) -> Row:
        plan = self._plan(record.headers)
        given, extras = plan.parts(record.values)
        try:
            shaped = self._declared.shape.model_validate(given)
        except ValidationError as error:
            raise Refused("; ".join(_sentences(error, self._accepted, plan.used(record.values)))) from None
        self.seen |= shaped.model_fields_set
        found = shaped.__dict__
        self._refuse_out_of_range(found)
        key = self._key(found, given, extras)
        names = [_named(reference, found, extras) for reference in self._declared.references]
        kept = _dumped(extras).decode() if self._declared.extras is not None else None
        return (record.line, key, *names, *[found[name] for name in self._columns], kept)

    def _plan(self, headers: tuple[str, ...]) -> "_Plan":
        plan = self._plans.get(headers)
        if plan is None:
            self._planned += len(headers)
            if self._planned > PLANNED_MOST:
                self._plans.clear()
                self._planned = len(headers)
            plan = self._plans[headers] = _Plan(headers, self._accepted, self._filled)
            self.seen |= plan.given
        return plan

    def _refuse_out_of_range(self, found: Mapping[str, Any]) -> None:
        for name, least, greatest in self._ranges:
            value = found[name]
            if value is not None and not least <= value <= greatest:
                raise Refused(f"{name} {_short(value)}: it must lie between {least:,} and {greatest:,}")

    def _key(self, found: Mapping[str, Any], given: dict[str, Any], extras: dict[str, Any]) -> str:
        for field in self._declared.keys:
            if (value := found[field]) is not None:
                return str(value)
        whole = _dumped({**given, **extras}, orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(whole, digest_size=16).hexdigest()


class _Plan:
    """One set of headers, matched: which values fill which field, and which are extras."""

    def __init__(self, headers: tuple[str, ...], accepted: Accepted, filled: Callable[[Any], object]) -> None:
        self._filled = filled
        known = [_normal(header) for header in headers]
        found = {field: _places(known, aliases) for field, aliases in accepted.items()}
        names = _distinct(headers)
        self._choices = [(names[place], field, place) for field, places in found.items() for place in places]
        mapped = {place for _, _, place in self._choices}
        self._extras = [(name, place) for place, name in enumerate(names) if place not in mapped]
        self.given = {field for _, field, _ in self._choices}

    def parts(self, values: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values by field, the first that isn't blank of each, and the extras by header."""
        filled = self._filled
        extras = {name: value for name, place in self._extras if filled(value := values[place])}
        given = {}
        for name, field, place in self._choices:
            if filled(value := values[place]):
                if field in given:
                    extras[name] = value
                else:
                    given[field] = value
        return given, extras

    def used(self, values: Sequence[Any]) -> dict[str, str]:
        """The header that filled each field."""
        return {field: name for name, field, place in reversed(self._choices) if self._filled(values[place])}


def _places(known: Sequence[str], aliases: Sequence[str]) -> tuple[int, ...]:
    return tuple(place for alias in aliases for place, header in enumerate(known) if header == _normal(alias))


def _normal(header: str) -> str:
    return header.strip().casefold().replace(" ", "_").replace("-", "_")


def _distinct(headers: Sequence[str]) -> list[str]:
    """Header names, trimmed, under which no value hides another one."""
    names: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for place, header in enumerate(headers, 1):
        name = wanted = header.strip() or f"column_{place}"
        while name in names:
            numbers[wanted] = numbers.get(wanted, 1) + 1
            name = f"{wanted}_{numbers[wanted]}"
        names[name] = None
    return list(names)


def _not_blank(value: Any) -> bool:
    """Whether a JSON value says something; a text of CSV does when `str.strip` leaves something."""
    return value.strip() != "" if isinstance(value, str) else value is not None


def _named(reference: Reference, found: Mapping[str, Any], extras: dict[str, Any]) -> str | None:
    """The name that a reference goes by; of a list the first, and the others go to the extras."""
    names: str | list[str] | None = found[reference.field]
    if not isinstance(names, list):
        return names
    if reference.others and len(names) > 1:
        extras[reference.others] = names[1:]
    return names[0] if names else None


def _dumped(value: dict[str, Any], option: int | None = None) -> bytes:
    """As JSON; less of it is nested than can be read."""
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        raise Refused(TOO_DEEP) from None


def _sentences(error: ValidationError, accepted: Accepted, used: Mapping[str, str]) -> Iterator[str]:
    for found in error.errors(include_url=False):
        field = str(found["loc"][0]) if found["loc"] else ""
        if found["type"] == "missing":
            yield f"{' or '.join(accepted[field])} is blank or missing"
        else:
            reason = str(found.get("ctx", {}).get("error") or found["msg"])
            yield f"{used.get(field, field)} {_short(found['input'])}: {reason[:1].lower()}{reason[1:]}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
