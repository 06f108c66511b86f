"""Whether an index of a model can be relied on, judged by what stands in the database and what was recorded of it. No I/O.

What counts is what an index is, not what it is called: any whole one on the table, written by PostgreSQL in the words that were
recorded for the model's, serves its path. How it is stored (its fill factor and the like) decides no question.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

DROPPING = "shelfmark_dropping_"
"""How the name of an index begins that is about to be dropped: it serves nothing any more."""

MIGRATE = "Run `shelfmark migrate`."
MEND = "Run `shelfmark migrate`; if that has nothing to do, `shelfmark indexes check` shows what mends it."
REASONS = {
    "missing": ("the database has no such index", MEND),
    "different": ("the database has another index under its name", MEND),
    "invalid": ("it is being built, or its build was broken off", f"If nothing builds it: {MEND[0].lower()}{MEND[1:]}"),
    "dropping": ("a migration is about to drop it", "Deploy the code that goes with that migration."),
    "young": ("PostgreSQL doesn't use it before older transactions have ended", "Look for long ones in pg_stat_activity."),
    "unrecorded": ("no migration of this code has recorded what it is", MIGRATE),
    "unreadable": (
        "the table shelfmark_indexes, which proves it, can't be read",
        f"{MIGRATE} If that doesn't help: GRANT SELECT ON shelfmark_indexes to the role that serves.",
    ),
}
"""Why a path is withdrawn, as clients are told it by one word -> what is so, and what its operator does."""
STORAGE = re.compile(r" WITH \((?:[\w.]+=(?:\w+|'(?:[^']|'')*')(?:, )?)+\)(?= WHERE \(|$)")


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A path that isn't served for now.

    Attributes:
        path: the name that the model gives its index.
        reason: one of `REASONS`.
    """

    table: str
    path: str
    reason: str

    @property
    def told(self) -> str:
        """What is so."""
        return f"{self.path} of {self.table} is withdrawn: {REASONS[self.reason][0]}."

    @property
    def remedy(self) -> str:
        """What its operator does."""
        return REASONS[self.reason][1]

    @property
    def detail(self) -> str:
        """What a client is told."""
        return f"{self.told} Ask again in a moment. Whoever runs the service can help: {self.remedy[0].lower()}{self.remedy[1:]}"

    def __str__(self) -> str:
        return f"{self.told} {self.remedy}"


@dataclass(frozen=True, slots=True)
class Found:
    """An index that stands on a table, or one that was recorded.

    Attributes:
        name: what the database calls it.
        words: what PostgreSQL writes after USING.
        state: `invalid`, `young`, or nothing where it is whole and used.
    """

    name: str
    unique: bool
    words: str
    state: str = ""

    def serves(self, wanted: "Found") -> bool:
        """Whether it gives all that another does. A unique one also gives what one does that isn't."""
        return (self.unique or not wanted.unique) and _asked(self.words) == _asked(wanted.words)


def judged(name: str, recorded: Found | None, standing: Iterable[Found]) -> str | None:
    """Why an index can't be relied on, as one of `REASONS`; None where it can.

    Args:
        name: what the database calls it, if it stands as the migrations made it.
        recorded: what was recorded of it; None where nothing was.
        standing: all indexes of its table.
    """
    if recorded is None:
        return "unrecorded"
    alike = [found for found in standing if found.serves(recorded)]
    states = {found.state for found in alike if not found.name.startswith(DROPPING)}
    if "" in states:
        return None
    if states:
        return "young" if "young" in states else "invalid"
    if alike:
        return "dropping"
    return "different" if any(found.name == name for found in standing) else "missing"


@lru_cache(maxsize=4096)
def _asked(words: str) -> str:
    """A definition without what only says how the index is stored."""
    return STORAGE.sub("", words)
