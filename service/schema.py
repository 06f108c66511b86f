"""Every table in one MetaData: what alembic/env.py reads, and what the service serves.

Tables are found, not listed: each module in `service/tables/` is imported once, in alphabetical order.
"""

import importlib
import pkgutil
from types import ModuleType

from sqlalchemy import MetaData

from service import tables
from service.db import Model


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
