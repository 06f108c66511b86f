"""The database: models, repositories, and the one handle through which everything reaches it."""

from service.db.model import Model, folded, table_of
from service.db.repository import Page, Repository
from service.db.session import Database
from service.db.surface import Surface, surface
from service.db.unit import Unit

__all__ = ["Database", "Model", "Page", "Repository", "Surface", "Unit", "folded", "surface", "table_of"]
