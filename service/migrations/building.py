"""How an index of a table in use is built, replaced, removed or renamed, so that nobody waits and nothing is lost if it breaks off.

PostgreSQL builds and drops an index CONCURRENTLY only outside of a transaction, so each step here stands by itself once it is done.
Each operation looks what is there, and does what is missing; run again after it was broken off, it goes on. What it leaves behind
until then has a name that begins in a way of its own (`service/db/catalogue.py`), which tells a running service that it serves
nothing. Such a service looks every second: so between taking an index's name away and dropping it, two are waited.

A caller who hands over a connection with a transaction already open (a test that will roll everything back) gets the same
indexes, built plainly inside that transaction: writers of the table wait until the caller ends it.
"""

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError

from service.db.catalogue import REFRESH_SECONDS
from service.migrations import refusing
from service.migrations.definitions import Definition, Standing, standing
from service.migrations.places import Place, left_behind
from service.migrations.sessions import pause

log = logging.getLogger(__name__)

WITHDRAWN_SECONDS = 2 * REFRESH_SECONDS
LOCK_NOT_AVAILABLE = "55P03"
NAME_TRIES = 20
NAME_PAUSE_SECONDS = (0.2, 1.0)
# A build waits for every transaction that began before it. That takes as long as it takes, and holds up nobody else.
PATIENT = {"lock_timeout": "0", "statement_timeout": "0", "transaction_timeout": "0"}
IMPATIENT = {"lock_timeout": "1s"}
SETTINGS = text("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(CAST(:names AS text[]))")
SET = text("SELECT set_config(:name, :value, false)")
ANALYSED = text("""
SELECT EXISTS (SELECT FROM pg_stats WHERE tablename = :name AND schemaname = coalesce(CAST(:schema AS text), current_schema()))
""")


def build(context: MigrationContext, place: Place, name: str, definition: Definition) -> None:
    """Have an index of this name and definition, valid.

    Raises:
        SetupError: the revision has changed something before; the table is missing, or partitioned; PostgreSQL can't build such an
            index, or the rows forbid it; something rests on the one that stands. What stood before stands unchanged.
    """
    refusing.mixed(context, f"build_index({name!r}, {str(place.table)!r}, ...)")
    wanted = refusing.possible(_connection(context), place, name, definition)
    with _apart(context, place) as work:
        work.build(name, wanted)


def remove(context: MigrationContext, place: Place, name: str) -> None:
    """Have no index of this name.

    Raises:
        SetupError: the revision has changed something before; something rests on the index.
    """
    refusing.mixed(context, f"remove_index({name!r}, {str(place.table)!r})")
    refusing.divided(_connection(context), place, name)
    with _apart(context, place) as work:
        work.remove(name)


def rename(context: MigrationContext, place: Place, old: str, new: str, definition: Definition | None) -> None:
    """Have the index of this definition called `new`; who had that name gets the old one. If none has it, it is built.

    Without a definition, whatever is called `old` is meant, and nothing may be called `new`.

    Raises:
        SetupError: the revision has changed something before; it can't be told which index is meant, or it can't be built.
    """
    refusing.mixed(context, f"rename_index({old!r}, {new!r}, {str(place.table)!r})")
    wanted = definition and refusing.possible(_connection(context), place, new, definition)
    with _apart(context, place) as work:
        work.rename(old, new, wanted)


@contextmanager
def _apart(context: MigrationContext, place: Place) -> Iterator["_Work"]:
    """Outside of the revision's transaction, unless that is the caller's own."""
    if context.opts.get(refusing.OUTER):
        yield _Work(_connection(context), place, concurrently=False)
        return
    try:
        with context.autocommit_block():
            connection = _connection(context)
            with _set(connection, PATIENT):
                yield _Work(connection, place)
    except PendingRollbackError as error:  # the session is gone: what took it away says more
        raise error.__context__ or error from None


@contextmanager
def _set(connection: Connection, values: Mapping[str, str]) -> Iterator[None]:
    """Settings of the session, and afterwards those of before. Only those that this PostgreSQL has."""
    before = {row.name: row.current_setting for row in connection.execute(SETTINGS, {"names": list(values)})}
    for name in before:
        connection.execute(SET, {"name": name, "value": values[name]})
    try:
        yield
    finally:
        with suppress(SQLAlchemyError, OSError):  # the session is gone, and its settings with it
            for name, value in before.items():
                connection.execute(SET, {"name": name, "value": value})


def _connection(context: MigrationContext) -> Connection:
    if context.connection is None:
        raise TypeError("an operation on indexes needs a connection")
    return context.connection


class _Work:
    """The steps, each of which stands by itself."""

    def __init__(self, connection: Connection, place: Place, *, concurrently: bool = True) -> None:
        self._connection, self._place, self._concurrently = connection, place, concurrently

    def build(self, name: str, wanted: Definition) -> None:
        here = self._at(name)
        if here is None or not here.valid:
            self._create(name, wanted)
        elif here.definition != wanted:
            self._replace(name, wanted)
        else:
            log.info("%s of %s stands already", name, self._place)
            self._analyse(name)
        self._tidy(name)

    def remove(self, name: str) -> None:
        here = self._at(name)
        if here is None:
            log.info("%s of %s is gone already", name, self._place)
        elif here.valid and not left_behind(name):
            refusing.rested_on(self._connection, self._place, name)
            self._withdraw(name)
        else:
            self._finish(name)
        self._tidy(name)

    def rename(self, old: str, new: str, wanted: Definition | None) -> None:
        stands = standing(self._connection, self._place.table, self._place.schema)
        source, target = stands.get(old), stands.get(new)
        if wanted is None:
            wanted = refusing.meant(self._place, old, new, source, target)
        if _is(target, wanted):
            log.info("%s of %s is called so already", new, self._place)
        elif not _is(source, wanted):
            self.build(new, wanted)
        elif target is None:
            self._name((old, new))
        else:
            between = self._place.building(new)
            self._finish(between)
            self._name((new, between), (old, new), (between, old))

    def _replace(self, name: str, wanted: Definition) -> None:
        """Only once the new one is whole does the old one lose its name."""
        refusing.rested_on(self._connection, self._place, name)
        building, dropping = self._place.building(name), self._place.dropping(name)
        self._create(building, wanted, shown=name)
        self._finish(dropping)
        self._name((name, dropping), (building, name))

    def _withdraw(self, name: str) -> None:
        dropping = self._place.dropping(name)
        self._finish(dropping)
        self._name((name, dropping))

    def _tidy(self, name: str) -> None:
        """What this run has taken out of use, and what one before has left behind."""
        self._finish(self._place.building(name), name)
        self._finish(self._place.dropping(name), name)

    def _create(self, name: str, wanted: Definition, *, shown: str | None = None) -> None:
        if _is(self._at(name), wanted):
            log.info("%s of %s was built already", shown or name, self._place)
        else:
            self._finish(name)
            log.info("building %s on %s", shown or name, self._place)
            self._create_anew(name, wanted, shown or name)
        self._analyse(name)

    def _create_anew(self, name: str, wanted: Definition, shown: str) -> None:
        try:
            self._run(self._place.creation(name, wanted, concurrently=self._concurrently))
        except DBAPIError as error:
            with suppress(SQLAlchemyError, OSError):
                self._finish(name)
            refusing.failed(error, self._place, shown)
            raise

    def _analyse(self, name: str) -> None:
        """Have statistics of what an index computes: without them the planner guesses."""
        here = self._at(name)
        if here and here.computed and not self._connection.scalar(ANALYSED, {"name": name, "schema": self._place.schema}):
            self._run(f"ANALYZE {self._place}")

    def _finish(self, name: str, shown: str | None = None) -> None:
        """Drop what has lost its name, once no service uses it any more; or what was never whole."""
        here = self._at(name)
        if here is None:
            return
        if here.valid and self._concurrently:
            pause(self._connection, WITHDRAWN_SECONDS)
        self._run(f"DROP INDEX{' CONCURRENTLY' if self._concurrently else ''} IF EXISTS {self._place.quoted(name)}")
        log.info("dropped %s", f"the old {shown or name}" if here.valid else f"an INVALID leftover, {shown or name}")

    def _name(self, *pairs: tuple[str, str]) -> None:
        """Change names, all at once. This waits for other work on the same indexes, which then waits behind it: so not for long."""
        renamings = " ".join(f"{self._place.renaming(old, new)};" for old, new in pairs)
        for tries in range(1, NAME_TRIES + 1):
            try:
                with _set(self._connection, IMPATIENT if self._concurrently else {}):
                    self._run(f"DO $renames$ BEGIN {renamings} END $renames$")
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or tries == NAME_TRIES or not self._concurrently:
                    raise
                log.info("another session holds %s, trying again", pairs[0][0])
                pause(self._connection, random.uniform(*NAME_PAUSE_SECONDS))  # noqa: S311 - not in step with whoever holds it
            else:
                return

    def _at(self, name: str) -> Standing | None:
        return standing(self._connection, self._place.table, self._place.schema).get(name)

    def _run(self, statement: str) -> None:
        self._connection.exec_driver_sql(statement)


def _is(index: Standing | None, wanted: Definition | None) -> bool:
    return index is not None and index.valid and index.definition == wanted
