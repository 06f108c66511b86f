"""Suggestions, tried one after the other. A sample of each table is copied once; a rule is suggested only if its rows keep it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.contract.path import Path
from service.db import Surface
from service.plans.advisor import Advice, Ground, Suggestion, advise
from service.plans.sampling import Sample, sampled
from service.plans.trial import Trial, keeps, tried
from service.plans.wishes import Wish

TRIAL_SECONDS = 120
"""How long the trial of one index may take."""
FAILURES = (DBAPIError, PostgresError, InterfaceError, TimeoutError)
TOO_LONG = "it took longer than it may"
Told = Callable[[int, int], None]
"""Is told how many were tried, and how many there are."""


class Trials:
    """Where suggestions are tried.

    Attributes:
        samples: table -> its sample, or why there is none.
    """

    def __init__(
        self, source: AsyncConnection, scratch: AsyncConnection, readers: AsyncEngine, tables: Mapping[str, Surface], rows: int
    ) -> None:
        self.samples: dict[str, Sample | str] = {}
        self._source, self._scratch, self._readers = source, scratch, readers
        self._tables, self._rows = tables, rows

    async def advised(self, grounds: Sequence[Ground], wishes: Sequence[Wish], share: float) -> Advice:
        """Advise, until no rule is suggested that rows break."""
        broken: set[tuple[str, Path]] = set()

        def kept(table: str, path: Path) -> bool:
            return (table, path) not in broken

        while True:
            advice = advise(grounds, wishes, kept, share)
            new = {
                (one.ground.table, one.index)
                for one in advice.suggestions
                if isinstance(one.index, Path) and one.index.unique and not await self._keeps(one.ground.table, one.index)
            }
            if not new:
                return advice
            broken |= new

    async def tried(self, suggestions: Sequence[Suggestion], told: Told) -> list[Trial]:
        """Try suggestions; one that can't be tried says why."""
        made = []
        for done, suggestion in enumerate(suggestions):
            told(done, len(suggestions))
            made.append(await self._tried(suggestion))
        if suggestions:
            told(len(suggestions), len(suggestions))
        return made

    async def _tried(self, suggestion: Suggestion) -> Trial:
        sample = await self._sample(suggestion.ground.table)
        if isinstance(sample, str):
            return Trial(0, broken=sample)
        if not sample.rows:
            return Trial(0, broken="the table has no rows")
        try:
            async with asyncio.timeout(TRIAL_SECONDS):
                return await tried(self._scratch, self._readers, sample, suggestion)
        except FAILURES as error:
            return Trial(sample.rows, broken=_reason(error))

    async def _keeps(self, table: str, path: Path) -> bool:
        """Whether the rows of a table keep a rule; where there are none, nobody knows."""
        sample = await self._sample(table)
        return isinstance(sample, Sample) and bool(sample.rows) and await keeps(self._scratch, sample, path)

    async def _sample(self, table: str) -> Sample | str:
        if table not in self.samples:
            try:
                self.samples[table] = await sampled(self._source, self._scratch, self._tables[table].model, self._rows)
            except FAILURES as error:
                self.samples[table] = f"its rows can't be copied: {_reason(error)}"
        return self.samples[table]


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return TOO_LONG
    said = error.orig if isinstance(error, DBAPIError) else error
    return str(said).partition("\n")[0].rpartition(">: ")[2]
