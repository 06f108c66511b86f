"""What one process measures of the questions that it asks the database: by path how many, and how long they took.

Whoever asks keeps the numbers of the path that a question rides beside its statement, so that measuring is a few additions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncSession

from service.contract.path import Contract
from service.contract.question import Question
from service.contract.shape import shape_of
from service.db.outline import Statement
from service.telemetry.counting import SECONDS as BOUNDS
from service.telemetry.counting import Family, Spread, Told

if TYPE_CHECKING:
    from service.db.session import Database

BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
SECONDS = Family(
    "shelfmark_question_seconds",
    "histogram",
    "Seconds for which questions were in the database, by the index that they rode.",
    ("table", "path"),
    BOUNDS,
)
SIZES = Family("shelfmark_batch_size", "histogram", "Point reads that were asked together in one statement.", (), BATCHES)
FAMILIES = (SECONDS, SIZES)


class Measures:
    """The numbers of one process.

    Attributes:
        batches: how many point reads each statement carried that may carry several: what coalescing gains.
    """

    def __init__(self) -> None:
        self.batches = Spread(BATCHES)
        self._paths: dict[tuple[str, str], Spread] = {}

    def of(self, table: str, path: str) -> Spread:
        """Where to add the seconds of each question that rides a path: `.add(seconds)`, or `.add(seconds, times)` for several."""
        found = self._paths.get((table, path))
        if found is None:
            found = self._paths[table, path] = Spread()
        return found

    def told(self) -> Told:
        """The numbers of `FAMILIES`."""
        for key, spread in self._paths.items():
            yield SECONDS.name, key, spread.numbers()
        if any(self.batches.counts):
            yield SIZES.name, (), self.batches.numbers()


@dataclass(frozen=True, slots=True)
class Measured:
    """A question that is measured while it is in the database, and noted where that takes too long.

    Attributes:
        database: whose numbers these are.
        contract: the table's.
        question: as it was asked.
        path: the index that it rides.
        statement: what is sent for it.
    """

    database: "Database"
    contract: Contract
    question: Question
    path: str
    statement: Statement

    async def rows(self, query: Any, session: AsyncSession) -> Sequence[Any]:
        """The rows of a query that sends the statement."""
        began = perf_counter()
        try:
            return (await session.execute(query)).all()
        finally:  # what was stopped has taken that long too
            self.took(perf_counter() - began)

    def took(self, seconds: float) -> None:
        """Count it."""
        self.database.measures.of(self.contract.table, self.path).add(seconds)
        slow = self.database.slow
        if seconds >= slow.seconds:
            slow.note(self.contract.table, self.path, str(shape_of(self.contract, self.question)), seconds, self.statement)
