"""Writes of a table's routes that are one statement: see `service/db/writing.py`. All others are for `table.py`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from service.db import Database, Repository, Surface, surface
from service.db.answers import RUNNING, Once, stands
from service.db.deadline import stand_down
from service.db.drops import NOTE, number, told
from service.db.faults import FAULTS, gone
from service.db.model import table_of
from service.db.outbox import What
from service.db.reading import Compiled
from service.db.version import CHANGED_AT, NUMBER, WHICHEVER, Match, Version
from service.db.writing import KEY, Drops, Writing
from service.errors import Problem, StillRunning
from service.http.confining import missing
from service.http.showing import Showing


class Made(NamedTuple):
    """A new row: its key, the row as JSON, and its version."""

    key: Any
    data: str
    version: Version


class Writer:
    """Writes one table for one application.

    Args:
        repository: of the table; where it writes in a way of its own, nothing is written here.
        of: what clients see.
        showing: how they see it.
        database: where it stands.
    """

    def __init__(self, repository: type[Repository[Any]], of: Surface, showing: Showing, database: Database) -> None:
        self._repository, self._of, self._database = repository, of, database
        self._running: set[bytes] = set()
        dialect = database.writes.engine.dialect
        self._writing = Writing(surface(repository.model), showing.members, dialect) if showing.plain else None

    def missing(self, method: str) -> str | None:
        """Why a write always takes a unit of work; None where one statement may be enough."""
        if self._writing is None:
            return f"{self._of.contract.table} is shown in a way that is worked out in Python"
        if getattr(self._repository, method) is not getattr(Repository, method):
            return f"{self._repository.__name__} has a way of its own to {method}"
        return None

    async def create(self, values: Mapping[str, Any]) -> Made | None:
        """Insert a row; None where it has to be a unit of work.

        Raises:
            Problem: the database refuses a value, or is away, busy or slow.
        """
        writing = self._able("create")
        statement = writing and writing.create(tuple(values), note=self._notes, drops=self._drops)
        if not statement:
            return None
        (made,) = await self._write("created", statement, values)
        return _made(made)

    async def create_once(self, values: Mapping[str, Any], once: Once, place: str, view: str) -> Made | None:
        """The same, and keep the answer; None also where it was done before, somebody else is at it, or the connection was lost.

        Whoever then looks for a kept answer, and finds none, may do it again: nobody has to be told that the outcome isn't known.

        Args:
            values: of the row.
            once: what the answer is kept under.
            place: what stands before the key in the row's Location.
            view: the part of its ETag that doesn't depend on its version.

        Raises:
            Problem: as `create`.
            StillRunning: this process is at it.
        """
        if once.identity in self._running:
            raise StillRunning(RUNNING)
        writing = self._able("create")
        statement = writing and writing.create_once(tuple(values), note=self._notes, drops=self._drops)
        if not statement:
            return None
        self._running.add(once.identity)
        try:
            made = await self._write("created", statement, {**values, **once.values(place, view)})
        except (Problem, *FAULTS) as error:
            if gone(error.__cause__):  # it may be done
                return None
            if not stands(error):
                raise
            made = []
        finally:
            self._running.discard(once.identity)
        if not made:
            stand_down()
        return _made(made[0]) if made else None

    async def change(self, key: Any, values: Mapping[str, Any], match: Match = WHICHEVER) -> Version | None:
        """Change a row: its new version; None where that is left to a unit of work, which also says why a row doesn't match.

        Raises:
            Problem: there is no such row, the database refuses a value, or is away, busy or slow.
        """
        writing = self._able("change") if values else None
        if writing is None or (match and match.one is None):
            return None
        statement = writing.change(tuple(values), note=self._notes, match=bool(match), drops=self._drops)
        return await self._sent("changed", statement, key, values, match.one)

    async def delete(self, key: Any, match: Match = WHICHEVER) -> Version | None:
        """Delete a row: its last version; None as of a change.

        Raises:
            Problem: there is no such row, others refer to it, or the database is away, busy or slow.
        """
        writing = self._able("delete")
        if writing is None or (match and match.one is None):
            return None
        self._database.catalogue.need_to_delete(self._repository.model)
        statement = writing.delete(note=self._notes, match=bool(match), drops=self._drops)
        return await self._sent("deleted", statement, key, {}, match.one)

    async def _sent(  # all that a statement is about
        self, what: What, statement: Compiled | None, key: Any, values: Mapping[str, Any], of: Version | None
    ) -> Version | None:
        if statement is None:
            return None
        self._database.catalogue.need(table_of(self._repository.model).primary_key)
        meant = {NUMBER: of.number, CHANGED_AT: of.changed_at} if of else {}
        records = await self._write(what, statement, {**values, KEY: key, **meant})
        if records:
            return Version(*records[0][1:3])
        if of:
            return None
        raise missing(self._of.contract.table, key)

    @property
    def _notes(self) -> bool:
        """Whether anybody is to be told of the table's rows."""
        return self._database.outbox.wants(self._of.contract.table)

    @property
    def _drops(self) -> Drops:
        """The columns whose values caches must be told of."""
        caches = self._database.caches
        return caches.columns(self._of.contract.table) if caches else None

    async def _write(self, what: What, statement: Compiled, values: Mapping[str, Any]) -> list[list[Any]]:
        """The rows of a statement, once caches have forgotten what it changed; whoever hands on what it notes is woken."""
        caches, note = self._database.caches, number()
        records = await self._database.write(statement.sql, statement.arguments({**values, NOTE: note}))
        found = [statement.result(record) for record in records]
        if self._notes:
            self._database.outbox.nudge()
        names = self._drops
        if found and caches and names is not None:
            await caches.forget([told(self._of.contract.table, what, found[0], names)], [note])
        return found

    def _able(self, method: str) -> Writing | None:
        """What writes, if nothing else has to be done and the repository doesn't do it in its own way."""
        return self._writing if self._database.plain and self.missing(method) is None else None


def _made(record: Sequence[Any]) -> Made:
    return Made(record[0], record[1], Version(*record[2:4]))
