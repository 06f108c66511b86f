"""Every table in one MetaData: what alembic/env.py reads, and what the service serves.

Tables are found, not listed: each module in `service/tables/` is imported once, in alphabetical order.
"""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import TextIO

from sqlalchemy import MetaData

from service import tables
from service.db import Model
from service.http.serve import Routes

Sample = Callable[[TextIO, int], None]


def modules(package: ModuleType = tables) -> list[ModuleType]:
    """The table files of a package, imported, in the order of their names."""
    return [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]


def metadata() -> MetaData:
    """The MetaData that holds every table."""
    modules()
    return Model.metadata


def models() -> list[type[Model]]:
    """The models of every table, by name."""
    modules()
    found: list[type[Model]] = [mapper.class_ for mapper in Model.registry.mappers]
    return sorted((model for model in found if model.metadata is Model.metadata), key=lambda model: model.__tablename__)


def routers() -> list[Routes]:
    """The routes of every table that is served, in the order of the files' names."""
    found = [value for module in modules() for value in vars(module).values() if isinstance(value, Routes)]
    for router in found:
        router.settle()
    return found


def served() -> list[str]:
    """The names of the tables that are served."""
    return [router.table.of.contract.table for router in routers()]


def samples() -> dict[str, Sample]:
    """Table -> what writes an invented sample of it: the `SAMPLES` of the table files."""
    return {table: write for module in modules() for table, write in getattr(module, "SAMPLES", {}).items()}
