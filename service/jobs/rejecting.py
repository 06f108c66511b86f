"""The file of rejected lines: line number, reason, and the record as it stands in the file, in the order of lines.

Whoever opens it in a spreadsheet hasn't written what is wrong in it: a text that begins like a formula gets an apostrophe.

It is written last, in a second reading of the file up to the last rejected line: rows that wait for their merge needn't carry their
own text along.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import SetupError
from service.jobs.lines import csv_line
from service.jobs.opening import Opened
from service.jobs.reading import Record, records
from service.jobs.staging import Reject, Staging

HEADER = ("line", "reason", "text")
PAGE = 1000
SHOWN = 10_000


@contextmanager
def rejects_file(target: Path | None, imported: Path | str) -> Iterator[TextIO | None]:
    """The file to write to, opened before anything else is done; None when none is wanted.

    Raises:
        SetupError: it can't be written, or is the file to import.
    """
    if target is None:
        yield None
        return
    if target.exists() and Path(imported).exists() and target.samefile(imported):
        raise SetupError(f"{target} is the file to import. Name another file for the rejects.")
    try:
        opened = target.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise SetupError(f"The rejects can't be written to {target}: {error.strerror}.") from None
    with opened as file:
        yield file


async def write_rejects(connection: AsyncConnection, staging: Staging, file: Opened, target: TextIO) -> None:
    """Write every rejected line."""
    writer = _Writer(file, target)
    line, after = staging.rejects.c.line, 0
    while True:
        query = select(staging.rejects).where(line > after).order_by(line).limit(PAGE)
        page = [(found.line, found.reason) for found in await connection.execute(query)]
        if not page:
            return
        await asyncio.to_thread(writer.add, page)
        after = page[-1][0]


class _Writer:
    """Walks through the file beside the rejects, once."""

    def __init__(self, file: Opened, target: TextIO) -> None:
        self._records = iter(records(file))
        self._target = target
        self._target.write(csv_line(HEADER, "quote"))

    def add(self, page: list[Reject]) -> None:
        for line, reason in page:
            record = next(record for record in self._records if record.line == line)
            self._target.write(csv_line((str(line), reason, _shown(record)), "quote"))


def _shown(record: Record) -> str:
    text = b"".join(record.raw).decode(errors="backslashreplace").rstrip("\r\n").replace("\0", "\\x00")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... (cut here)"
