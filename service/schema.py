"""Every table in one MetaData: what alembic/env.py reads, and what the service serves.

Tables are found, not listed: each module in `service/tables/` is imported once, in alphabetical order.
"""

import datetime
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from sqlalchemy import MetaData, Table

from service import tables
from service.cache.keys import Kept
from service.db import Model, answers, drops, feed, keys, outbox, slow, table_of
from service.errors import SetupError
from service.http.reading import CURSOR_PERIODS
from service.http.serve import Routes
from service.http.table import Table as ServedTable
from service.jobs import files, pruning, scheduling, slots, spooling, uploads
from service.jobs.job import Job
from service.jobs.rows import JobRow
from service.jobs.scheduling import Schedule
from service.jobs.shaping import Imports
from service.plans.ledger import REFUSALS
from service.settings import Section, Settings

T = TypeVar("T")
Sample = Callable[[int, datetime.date], Iterable[str]]
"""The statements that fill a table with invented rows, for a size and for the day on which they are seen."""
OWN: tuple[Table, ...] = (
    *(REFUSALS, answers.answers, drops.drops, keys.KEYS, outbox.outbox, feed.consumers, slow.QUESTIONS),
    *(table_of(JobRow), scheduling.schedules, slots.workers, files.FILES, files.CHUNKS),
)
"""Tables of the service itself, declared where they are used: migrated with the others, and not served as tables."""
OF_THE_SERVICE: tuple[ModuleType, ...] = (pruning, uploads, spooling)
"""Modules of the service that declare jobs and schedules."""


def modules(package: ModuleType = tables) -> list[ModuleType]:
    """The table files of a package, imported, in the order of their names."""
    return [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]


def metadata() -> MetaData:
    """The MetaData that holds every table."""
    modules()
    return Model.metadata


def models() -> list[type[Model]]:
    """The models of every table but the service's own, by name."""
    modules()
    found: list[type[Model]] = [mapper.class_ for mapper in Model.registry.mappers]
    tables = [model for model in found if model.metadata is Model.metadata and table_of(model) not in OWN]
    return sorted(tables, key=lambda model: model.__tablename__)


def routers() -> list[Routes]:
    """The routes of every table that is served, in the order of the files' names.

    Raises:
        SetupError: a table is served twice.
    """
    found: dict[str, Routes] = {}
    for router in _declared(Routes):
        name = router.table.of.contract.table
        if found.setdefault(name, router) is not router:
            raise SetupError(
                f"{name} is served twice, at {found[name].prefix} and at {router.prefix}. What is shown of a table, kept of it and "
                "confined in it is known by its name: leave one serve() out, and add routes of your own to the other's router."
            )
        router.settle(imports())
    return list(found.values())


def tables_served() -> dict[str, ServedTable]:
    """The tables that are served, by name."""
    return {router.table.of.contract.table: router.table for router in routers()}


def served() -> list[str]:
    """The names of the tables that are served."""
    return list(tables_served())


def kept(loaded: Settings) -> dict[str, Kept]:
    """Table -> what is kept of its answers, of those that say `cached=`: for as long as the settings allow."""
    most = min(loaded.cache_seconds_most, loaded.cursor_seconds // CURSOR_PERIODS)
    return {name: Kept.of(one.of, min(one.cached, most)) for name, one in tables_served().items() if one.cached}


def samples() -> dict[str, Sample]:
    """Table -> what fills it with invented rows, in the order in which they are filled: the `SAMPLES` of the table files."""
    return {table: sample for module in modules() for table, sample in getattr(module, "SAMPLES", {}).items()}


def imports() -> Imports:
    """The imports that table files declare, by the names of their tables."""
    return Imports.of(modules())


def jobs() -> dict[str, Job[Any]]:
    """Every job that a worker runs, by name.

    Raises:
        SetupError: two have the same name.
    """
    found: dict[str, Job[Any]] = {}
    for job in _declared(Job):
        if found.setdefault(job.name, job) is not job:
            raise SetupError(f"Two jobs are called {job.name}. Rows know a job by its name: give one of them another.")
    return found


def schedules() -> list[Schedule]:
    """Every schedule that the relay fires."""
    return _declared(Schedule)


def _declared(kind: type[T]) -> list[T]:
    """Whatever of a kind the modules hold, each once."""
    values = (value for module in (*OF_THE_SERVICE, *modules()) for value in vars(module).values())
    return list({id(value): value for value in values if isinstance(value, kind)}.values())


def sections() -> list[type[Section]]:
    """The settings that table files declare for themselves, in the order of the files' names."""
    declared = (value for module in modules() for value in vars(module).values() if isinstance(value, type))
    return list(dict.fromkeys(value for value in declared if issubclass(value, Section) and value is not Section))
