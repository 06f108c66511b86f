"""What doesn't get a lock is rolled back whole, and tried again.

A statement that waits for a lock makes all wait that come after it, though they would get along with who has the lock now. So it
waits shortly, and between two tries for longer than it may wait: others pass meanwhile.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service.errors import SetupError
from service.migrations.sessions import pause
from service.migrations.watching import Watch
from service.settings import Settings

log = logging.getLogger(__name__)

LATER = {"55P03": "it did not get a lock in time", "40P01": "it and another transaction waited for each other"}
BETWEEN = (1.0, 3.0)
"""How long to rest between two tries, in times of what one may wait."""
GAVE_UP = (
    "{what} was tried {tries} times, and stopped each time, as {reason}: {seen}. It is rolled back; what was migrated before it "
    "stays. Run this again when that transaction has ended, or end it (SELECT pg_terminate_backend(...)); "
    "SHELFMARK_MIGRATION_LOCK_SECONDS lets it try for longer."
)


class Trying(Protocol):
    """What it needs to know of a move."""

    @property
    def settings(self) -> Settings:
        """Says how long to wait, and for how long to try."""

    @property
    def watch(self) -> Watch:
        """Sees who is in the way."""


def until_done(connection: Connection, how: Trying, attempt: Callable[[], None], what: object) -> None:
    """Do something in transactions of its own, again and again until it gets its locks.

    Args:
        connection: what it is done on.
        how: with what patience.
        attempt: does it; what it had committed before it was stopped, it finds done.
        what: is done, as text for messages.

    Raises:
        SetupError: it didn't get them for `migration_lock_seconds`.
        DBAPIError: anything else went wrong.
    """
    began, tries = time.monotonic(), 0
    while True:
        tries += 1
        how.watch.forget()
        try:
            attempt()
        except DBAPIError as error:
            reason = LATER.get(getattr(error.orig, "sqlstate", None) or "")
            if reason is None or connection.invalidated:
                raise
            seen = how.watch.blocked or _statement(error)
            if time.monotonic() - began >= how.settings.migration_lock_seconds:
                raise SetupError(GAVE_UP.format(what=what, tries=tries, reason=reason, seen=seen)) from error
        else:
            return
        rest = random.uniform(*BETWEEN) * how.settings.migration_lock_timeout_ms / 1000  # noqa: S311 - two shall not meet again
        log.warning("%s was stopped and rolled back, as %s: %s. It is tried again in %.1f s", what, reason, seen, rest)
        pause(connection, rest)


def _statement(error: DBAPIError) -> str:
    return " ".join((error.statement or "who has it isn't known").split())
