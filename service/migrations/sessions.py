"""Sessions of the database as a person is told of them, and one errand at a time on a connection of ours."""

import asyncio
import datetime
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.util import await_only

COLUMNS = "a.pid, a.application_name, host(a.client_addr), a.backend_start, a.query"
"""What a `Session` is made of, of pg_stat_activity as `a`."""
PROCESS = text("SELECT pg_backend_pid()")
SHOWN_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Session:
    """A session, as far as our role may see it: of another role's, PostgreSQL tells little more than the process.

    Attributes:
        pid: its process in PostgreSQL.
        since: when it connected.
        doing: its statement, or the last one it ran.
    """

    pid: int
    application: str | None
    address: str | None
    since: datetime.datetime | None
    doing: str | None

    def __str__(self) -> str:
        parts = (
            self.application,
            self.address and f"from {self.address}",
            self.since and f"since {self.since.astimezone(datetime.UTC):%H:%M:%S} UTC",
        )
        told = ", ".join(part for part in parts if part)
        doing = f": {_short(self.doing)}" if self.doing else ""
        return f"process {self.pid} of PostgreSQL{f' ({told})' if told else ''}{doing}"


def _short(statement: str) -> str:
    """On one line, and no more than its beginning."""
    line = " ".join(statement.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}..."


def asked(connection: Connection, statement: TextClause, **values: Any) -> tuple[Any, ...] | None:
    """The first row of an answer; a transaction that is begun for it is over afterwards."""
    with nullcontext() if connection.in_transaction() else connection.begin():
        row = connection.execute(statement, values).first()
    return None if row is None else tuple(row)


def process(connection: Connection) -> int:
    """The process of PostgreSQL that serves a connection."""
    row = asked(connection, PROCESS)
    return 0 if row is None else int(row[0])


def pause(connection: Connection, seconds: float) -> None:
    """Sleep; where the connection lives on an event loop, that goes on meanwhile."""
    if connection.dialect.is_async:
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)
