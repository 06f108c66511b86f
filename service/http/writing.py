"""Writes of a table's routes that are one statement: see `service/db/writing.py`. All others are for `table.py`."""

from collections.abc import Mapping
from typing import Any

from service.db import Database, Repository, Surface, surface
from service.db.answers import RUNNING, Once, stands
from service.db.faults import FAULTS, gone
from service.db.model import table_of
from service.db.reading import Compiled
from service.db.writing import KEY, Writing
from service.errors import Problem, StillRunning
from service.http.confining import missing
from service.http.showing import Showing


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

    async def create(self, values: Mapping[str, Any]) -> tuple[Any, str] | None:
        """Insert a row: its key and the row as JSON; None where it has to be a unit of work.

        Raises:
            Problem: the database refuses a value, or is away, busy or slow.
        """
        writing = self._able("create")
        statement = writing and writing.create(tuple(values), note=self._notes)
        if not statement:
            return None
        (record,) = await self._write(statement, values)
        key, data = statement.result(record)
        return key, data

    async def create_once(self, values: Mapping[str, Any], once: Once, place: str) -> tuple[Any, str] | None:
        """The same, and keep the answer; None also where it was done before, somebody else is at it, or the connection was lost.

        Whoever then looks for a kept answer, and finds none, may do it again: nobody has to be told that the outcome isn't known.

        Args:
            values: of the row.
            once: what the answer is kept under.
            place: what stands before the key in the row's Location.

        Raises:
            Problem: as `create`.
            StillRunning: this process is at it.
        """
        if once.identity in self._running:
            raise StillRunning(RUNNING)
        writing = self._able("create")
        statement = writing and writing.create_once(tuple(values), note=self._notes)
        if not statement:
            return None
        self._running.add(once.identity)
        try:
            records = await self._write(statement, {**values, **once.values(place)})
        except (Problem, *FAULTS) as error:
            if stands(error) or gone(error.__cause__):
                return None
            raise
        finally:
            self._running.discard(once.identity)
        if not records:
            return None
        key, data = statement.result(records[0])
        return key, data

    async def change(self, key: Any, values: Mapping[str, Any]) -> bool:
        """Change a row; whether that was done, rather than left to a unit of work.

        Raises:
            Problem: there is no such row, the database refuses a value, or is away, busy or slow.
        """
        writing = self._able("change") if values else None
        statement = writing and writing.change(tuple(values), note=self._notes)
        return await self._sent(statement or None, key, values)

    async def delete(self, key: Any) -> bool:
        """Delete a row; whether that was done, rather than left to a unit of work.

        Raises:
            Problem: there is no such row, others refer to it, or the database is away, busy or slow.
        """
        writing = self._able("delete")
        if writing:
            self._database.catalogue.need_to_delete(self._repository.model)
        statement = writing and writing.delete(note=self._notes)
        return await self._sent(statement or None, key, {})

    async def _sent(self, statement: Compiled | None, key: Any, values: Mapping[str, Any]) -> bool:
        if statement is None:
            return False
        self._database.catalogue.need(table_of(self._repository.model).primary_key)
        if not await self._write(statement, {**values, KEY: key}):
            raise missing(self._of.contract.table, key)
        return True

    async def _write(self, statement: Compiled, values: Mapping[str, Any]) -> list[Any]:
        """The rows of a statement; whoever hands on what it notes is woken."""
        records = await self._database.write(statement.sql, statement.arguments(values))
        if self._notes:
            self._database.outbox.nudge()
        return records

    @property
    def _notes(self) -> bool:
        """Whether anybody is to be told of the table's rows."""
        return self._database.outbox.wants(self._of.contract.table)

    def _able(self, method: str) -> Writing | None:
        """What writes, if nothing else has to be done and the repository doesn't do it in its own way."""
        return self._writing if self._database.plain and self.missing(method) is None else None
