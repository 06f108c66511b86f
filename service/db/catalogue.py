"""The live catalogue: whether each index that the contract needs stands in the database, whole and as declared.

A running service looks again and again, with no right but to read. A path whose index it can't rely on is withdrawn: its questions
are refused until it is back, so that code may be deployed before its migration or after it, and nothing is ever scanned.
"""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Index, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import AddConstraint, CreateIndex

from service.background import beside
from service.contract.choose import Choice, choose
from service.contract.path import Contract, Path
from service.contract.question import Question
from service.db.judging import DROPPING, Found, Withdrawn, judged
from service.db.model import Model, table_of
from service.db.surface import DIALECT, referring
from service.errors import IndexNotReady, Problem

if TYPE_CHECKING:
    from service.db.session import Database

__all__ = ["BUILDING", "DROPPING", "QUOTE", "RECORD", "REFRESH_SECONDS", "Catalogue", "Keeper", "fingerprint", "keepers", "name_of"]

REFRESH_SECONDS = 1.0
"""How often a running service looks; a migration waits longer than that between withdrawing an index and dropping it."""
BUILDING = "shelfmark_building_"
"""How the name of an index begins that is being built to take another's place."""
RECORD = "shelfmark_indexes"
"""The table in which migrations record what each index of the models is in PostgreSQL's words."""
EARLIEST = 0.8
"""Processes look after this part of the time, or after more of it: not all of them in the same moment."""
QUOTE = DIALECT.identifier_preparer
NO_RECORD = ("42P01", "42501")
"""SQLSTATE: there is no such table; the role may not read it."""
# After a plain CREATE INDEX, PostgreSQL may keep from the index until each older transaction has ended: indcheckxmin.
LOOK = text(f"""
(SELECT DISTINCT ON (fingerprint) '' AS place, fingerprint AS name, is_unique, words, '' AS state
 FROM {RECORD} WHERE fingerprint = ANY (:fingerprints) ORDER BY fingerprint, recorded_at DESC)
UNION ALL
SELECT w.place, x.relname::text, i.indisunique, substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)$'),
       CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'invalid'
            WHEN i.indcheckxmin AND age(i.xmin) BETWEEN 0 AND age(pg_snapshot_xmin(pg_current_snapshot())::xid) THEN 'young'
            ELSE '' END
FROM unnest(CAST(:places AS text[])) AS w (place)
JOIN pg_index i ON i.indrelid = to_regclass(w.place)
JOIN pg_class x ON x.oid = i.indexrelid
""")
log = structlog.get_logger(__name__)

Keeper = Index | UniqueConstraint | PrimaryKeyConstraint
"""What of a model has an index in the database."""


def keepers(table: Table) -> dict[str, Keeper]:
    """What of a table has an index in the database, by the name that the model gives it."""
    constraints = (one for one in table.constraints if isinstance(one, UniqueConstraint | PrimaryKeyConstraint))
    found: list[Keeper] = [*table.indexes, *(one for one in constraints if one.name and one.columns)]
    return {str(one.name): one for one in sorted(found, key=lambda one: str(one.name))}


def name_of(keeper: Keeper) -> str:
    """What the database calls an index: SQLAlchemy shortens a name that it made itself."""
    (name,) = QUOTE.unformat_identifiers(_quoted(keeper))
    return name


def fingerprint(keeper: Keeper) -> str:
    """What tells an index of a model from others, whatever it is called: the sha256 of its own DDL, without its name."""
    made = CreateIndex(keeper) if isinstance(keeper, Index) else AddConstraint(keeper, isolate_from_table=False)
    text = str(made.compile(dialect=DIALECT))
    return hashlib.sha256(text.replace(f" {_quoted(keeper)} ", " ", 1).encode()).hexdigest()


def _quoted(keeper: Keeper) -> str:
    return str(QUOTE.format_index(keeper) if isinstance(keeper, Index) else QUOTE.format_constraint(keeper))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An index of a model: the table as it is named in SQL, the path, what the database calls it, its fingerprint."""

    table: str
    place: str
    path: str
    name: str
    fingerprint: str


class Catalogue:
    """What the database has of the indexes that these models need, as it was last seen. Before the first look: all of them.

    Attributes:
        withdrawn: (table, path) -> why it isn't served; empty where all is well.
        refused: (table, path) -> how many questions were refused because of that.
    """

    def __init__(self, models: Iterable[type[Model]] = ()) -> None:
        self._wanted = [
            _Wanted(table.name, QUOTE.format_table(table), path, name_of(keeper), fingerprint(keeper))
            for table in map(table_of, models)
            for path, keeper in keepers(table).items()
        ]
        self.withdrawn: Mapping[tuple[str, str], Withdrawn] = {}
        self.refused: Counter[tuple[str, str]] = Counter()
        self._seen: list[Any] | None = None
        self._left: dict[int, tuple[Contract, Contract]] = {}

    def available(self, contract: Contract) -> Contract:
        """A contract without the paths and searches that are withdrawn.

        Args:
            contract: one that lives as long as the application; what is left of it is kept until something changes.
        """
        if not self.withdrawn:
            return contract
        kept = self._left.get(id(contract))
        if kept is None:
            kept = self._left[id(contract)] = (contract, self._without(contract))
        return kept[1]

    def chosen(
        self, contract: Contract, question: Question, told: Callable[[Path], Mapping[str, Any]] | None = None
    ) -> Choice | None:
        """The path for a question, of those that the database has; None where none was ever declared.

        Args:
            contract: as for `available`.
            question: what is asked.
            told: what else is to be said of a path that is withdrawn.

        Raises:
            IndexNotReady: each path that would serve it is withdrawn.
        """
        choice = choose(self.available(contract), question)
        if choice is None and self.withdrawn and (gone := choose(contract, question)):
            raise self.not_ready(contract.table, gone.path.name, **(told(gone.path) if told else {}))
        return choice

    def check(self, table: str, path: str) -> None:
        """Refuse what would need a path that is withdrawn.

        Raises:
            IndexNotReady: with the path and the reason.
        """
        if self.withdrawn and (table, path) in self.withdrawn:
            raise self.not_ready(table, path)

    def need(self, *indexes: Keeper) -> None:
        """Refuse what would ride an index that is withdrawn.

        Raises:
            IndexNotReady: with the first such index, and the reason.
        """
        if self.withdrawn:
            for index in indexes:
                self.check(getattr(index.table, "name", ""), str(index.name))

    def need_to_delete(self, model: type[Model]) -> None:
        """Refuse to delete rows of a model where PostgreSQL would have to look through all of a table that refers to it.

        Raises:
            IndexNotReady: a foreign key has lost each whole index that it led.
        """
        if self.withdrawn:
            for column, leading in referring(model).items():
                if leading and all((column.table.name, path) in self.withdrawn for path in leading):
                    self.check(column.table.name, leading[0])

    def not_ready(self, table: str, path: str, **extra: Any) -> IndexNotReady:
        """The problem of a path that is withdrawn, for whoever it is refused to."""
        self.refused[table, path] += 1
        found = self.withdrawn[table, path]
        return IndexNotReady(found.detail, path=path, reason=found.reason, **extra)

    async def refresh(self, database: "Database") -> None:
        """Look once, and log what was withdrawn or is back. Where the database can't be asked, what was seen last stays.

        Raises:
            Problem: the database is away, or slow.
        """
        if not self._wanted:
            return
        try:
            async with database.aside() as session:
                rows = list(await session.execute(LOOK, self._names()))
        except (Problem, DBAPIError) as error:
            if _state(error) not in NO_RECORD:
                raise
            self._change(dict(self._all("unreadable")))
            self._seen = None
            return
        if rows != self._seen:
            self._change(dict(self._judged(rows)))
            self._seen = rows

    @asynccontextmanager
    async def watching(self, database: "Database") -> AsyncIterator[None]:
        """Look again and again while the block lasts; the first time before it begins."""
        await self._look(database)
        async with beside(self._watch(database), "catalogue"):
            yield

    async def _watch(self, database: "Database") -> None:
        able = True
        while True:
            await asyncio.sleep(REFRESH_SECONDS * random.uniform(EARLIEST, 1))  # noqa: S311  (spread, not secret)
            able = await self._look(database, tell=able)

    async def _look(self, database: "Database", *, tell: bool = True) -> bool:
        """Look once; whether that was possible. No error ends the watch."""
        try:
            await self.refresh(database)
        except Exception as error:  # noqa: BLE001
            if tell:
                log.warning("the indexes of the database can't be looked at; what was seen last stays", cause=repr(error))
            return False
        return True

    def _names(self) -> dict[str, list[str]]:
        return {
            "fingerprints": [wanted.fingerprint for wanted in self._wanted],
            "places": sorted({wanted.place for wanted in self._wanted}),
        }

    def _judged(self, rows: Iterable[Any]) -> Iterator[tuple[tuple[str, str], Withdrawn]]:
        recorded: dict[str, Found] = {}
        standing: dict[str, list[Found]] = {}
        for place, name, unique, words, state in rows:
            found = Found(name, unique, words or "", state)
            if place:
                standing.setdefault(place, []).append(found)
            else:
                recorded[name] = found
        for wanted in self._wanted:
            reason = judged(wanted.name, recorded.get(wanted.fingerprint), standing.get(wanted.place, []))
            if reason:
                yield (wanted.table, wanted.path), Withdrawn(wanted.table, wanted.path, reason)

    def _all(self, reason: str) -> Iterator[tuple[tuple[str, str], Withdrawn]]:
        for wanted in self._wanted:
            yield (wanted.table, wanted.path), Withdrawn(wanted.table, wanted.path, reason)

    def _change(self, now: Mapping[tuple[str, str], Withdrawn]) -> None:
        before, self.withdrawn, self._left = self.withdrawn, now, {}
        new = sorted(
            (found for key, found in now.items() if before.get(key) != found), key=lambda found: (found.reason, found.path)
        )
        for reason, some in groupby(new, key=lambda found: found.reason):
            found = list(some)
            log.warning("paths are withdrawn", paths=[one.path for one in found], reason=reason, hint=found[0].remedy)
        if back := sorted(path for _, path in before.keys() - now.keys()):
            log.info("paths are served again", paths=back)

    def _without(self, contract: Contract) -> Contract:
        gone = {path for table, path in self.withdrawn if table == contract.table}
        if not gone:
            return contract
        return replace(
            contract,
            paths=tuple(path for path in contract.paths if path.name not in gone),
            searches=tuple(path for path in contract.searches if path.name not in gone),
        )


def _state(error: Exception) -> str | None:
    """The SQLSTATE behind an error."""
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    return getattr(getattr(cause, "orig", None), "sqlstate", None)
