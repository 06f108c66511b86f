"""Records out of an opened file: CSV and NDJSON, each with the line it begins at, and with its fault where it can't be read.

A record that can't be read is no reason to stop. It keeps its place and carries a sentence instead of values.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from service.errors import SetupError
from service.jobs.opening import LINE_BYTES, Opened

DELIMITERS = ",;\t|"
ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
NUL = "it contains a NUL character, which the database can't keep"
TOO_LONG = f"a line is longer than {LINE_BYTES:,} bytes"
RECORD_BYTES = LINE_BYTES
LONG_RECORD = f"a record is longer than {RECORD_BYTES:,} bytes: a quotation mark may be missing"
"""Lines of which each closes a quoted field and opens the next one would be one record to the end of the file, in memory."""
AGAIN_BYTES = 64 * RECORD_BYTES
"""Bytes that are read once more, beyond as many as the file has: a stray quotation mark costs a record, one in each line all."""
NAMES_MOST = 2_000
"""Values of a record. Each has a name, and who sends a file of names only shall not keep others waiting."""


class Record(NamedTuple):
    """One record of a file.

    Attributes:
        line: the line it begins at, counted from 1.
        raw: its bytes, line by line.
        headers: the names of its values; the same object for every record of a CSV file.
        values: what stands under each header: text from CSV, any JSON value from NDJSON.
        fault: why it has no values; None when it has.
    """

    line: int
    raw: Sequence[bytes]
    headers: tuple[str, ...]
    values: Sequence[Any]
    fault: str | None


class Records(Protocol):
    """A file's records, in order."""

    @property
    def headers(self) -> tuple[str, ...] | None:
        """The header line of a CSV file; None where each record names its own values."""

    def __iter__(self) -> Iterator[Record]:
        """Each record, blank lines left out."""


def records(file: Opened) -> Records:
    """The records of a file, from its beginning.

    Raises:
        SetupError: the header line can't be read.
    """
    return JsonRecords(file) if file.format == "ndjson" else CsvRecords(file)


class JsonRecords:
    """One JSON object a line."""

    headers = None

    def __init__(self, file: Opened) -> None:
        self._file = file

    def __iter__(self) -> Iterator[Record]:
        """Each object; a line that is none carries the reason."""
        for number, (raw, whole) in enumerate(self._file.lines(), 1):
            if raw.strip():
                found, fault = _object(raw) if whole else ({}, TOO_LONG)
                yield Record(number, (raw,), tuple(found), tuple(found.values()), fault)


def _object(raw: bytes) -> tuple[dict[str, Any], str | None]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return {}, f"it can't be read as JSON: {error.msg} (character {error.colno})"
    if not isinstance(found, dict):
        return {}, "it is JSON, but no object: {...} is expected"
    if len(found) > NAMES_MOST:
        return {}, f"it has {len(found):,} members; {NAMES_MOST:,} is the most"
    return ({}, NUL) if ESCAPED_NUL.search(raw) else (found, None)


class CsvRecords:
    """CSV with a header line; separated by commas, semicolons, tabs or bars, whichever the header has most of."""

    def __init__(self, file: Opened) -> None:
        self._name = file.name
        self._lines = _Lines(file)
        self.headers: tuple[str, ...] = self._header()

    def _header(self) -> tuple[str, ...]:
        for text in self._lines:
            if self._lines.fault:
                raise SetupError(f"{self._name}: the header line can't be read: {self._lines.fault}.")
            if text.strip():
                self._delimiter = max(DELIMITERS, key=text.count)
                return self._named(_split(text, self._delimiter, self._name))
            self._lines.begin()
        raise SetupError(f"{self._name} is empty.")

    def _named(self, headers: list[str]) -> tuple[str, ...]:
        if len(headers) > NAMES_MOST:
            raise SetupError(f"{self._name}: the header line names {len(headers):,} columns. {NAMES_MOST:,} is the most.")
        return tuple(headers)

    def __iter__(self) -> Iterator[Record]:
        """Each record; quoted fields may span lines."""
        reader = csv.reader(self._lines, delimiter=self._delimiter, strict=True)
        lines, expected = self._lines, len(self.headers)
        while True:
            start = lines.begin()
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error:
                values = None
            if values is not None and len(values) == expected and lines.fault is None:
                yield Record(start, lines.raw, self.headers, values, None)
            elif any(raw.strip() for raw in lines.raw):
                fault = lines.fault or _misfit(values, expected)
                yield Record(start, lines.only_first(), self.headers, (), fault)


def _misfit(values: list[str] | None, expected: int) -> str:
    if values is None:
        return f"a quotation mark is not closed within {csv.field_size_limit():,} characters, or text follows a closing one"
    return f"{expected} fields are expected, {len(values)} found"


def _split(text: str, delimiter: str, name: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter))
    except csv.Error:
        raise SetupError(f"{name}: the header line can't be read as CSV. End lines with a line feed, fields with commas.") from None


class _Lines:
    """A file's lines as text, with those of the present record at hand: what csv.reader reads from.

    An iterator, no generator: it goes on after its end when lines were put back.
    """

    def __init__(self, file: Opened) -> None:
        self._source = file.lines()
        self._again: deque[tuple[bytes, bool]] = deque()
        self._name = file.name
        self._number = self._bytes = self._first = self._more = 0
        self.raw: list[bytes] = []
        self.fault: str | None = None

    def begin(self) -> int:
        """Start a record; its line number."""
        self.raw, self.fault, self._bytes = [], None, 0
        return self._number + 1

    def only_first(self) -> list[bytes]:
        """Put back all lines of the record but its first: a stray quotation mark must not take its neighbours with it.

        Raises:
            SetupError: that has happened too often.
        """
        self._more += self._bytes - len(self.raw[0])
        if self._more > AGAIN_BYTES + self._first:
            raise SetupError(
                f"{self._name} has too many quotation marks that are not closed; one of them is in line "
                f"{self._number - len(self.raw) + 1:,}. Save it as CSV with each quoted field closed, and marks inside doubled."
            )
        self._again.extendleft((raw, len(raw) < LINE_BYTES or raw.endswith(b"\n")) for raw in reversed(self.raw[1:]))
        self._number -= len(self.raw) - 1
        return self.raw[:1]

    def _next(self) -> tuple[bytes, bool]:
        raw, whole = next(self._source)
        self._first += len(raw)
        return raw, whole

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        raw, whole = self._again.popleft() if self._again else self._next()
        self._number += 1
        self.raw.append(raw)
        self._bytes += len(raw)
        if self._bytes > RECORD_BYTES and len(self.raw) > 1:
            self.fault = LONG_RECORD
            raise csv.Error(LONG_RECORD)
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            self.fault = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not UTF-8; save the file as UTF-8"
            return ""
        if not whole:
            self.fault = TOO_LONG
        elif b"\0" in raw:
            self.fault = NUL
        else:
            return text
        return ""
