"""HTTP: a repository becomes routes, and every refusal a problem."""

from service.http.schema import Schema, by_database
from service.http.scopes import minds_rows, needs, open_to_all
from service.http.serve import serve
from service.http.uses import Uses

__all__ = ["Schema", "Uses", "by_database", "minds_rows", "needs", "open_to_all", "serve"]
