"""What a request costs, told from its method and URL before anything reads them: in requests for one row, the cheapest there are.

A search, or a batch, keeps a connection for a while, and an export that is streamed asks for one again and again: such requests
are dear, and few of them are answered at the same time.
"""

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

HEALTH = ("/livez", "/readyz")
METRICS = "/metrics"
READS = ("GET", "HEAD")
SEARCHES = (b"__icontains=", b"__has=")
COUNTS = (b"count=estimated", b"count=capped")
LIST_SLASHES = 2  # /v1/books
FILES = (".csv", ".ndjson")


@dataclass(frozen=True, slots=True)
class Kind:
    """What kind of request one is.

    Attributes:
        cost: as how many requests it counts; 0: it isn't limited.
        dear: whether few of them are answered at the same time.
    """

    name: str
    cost: int
    dear: bool = False


FREE = Kind("health", 0)
ROW = Kind("row", 1)
LIST = Kind("list", 2)
COUNT = Kind("counted list", 5)
SEARCH = Kind("search", 10, dear=True)
WRITE = Kind("write", 5)
BATCH = Kind("batch", 25, dear=True)
STREAM = Kind("streamed export", 25, dear=True)
KINDS = (FREE, ROW, LIST, COUNT, WRITE, SEARCH, BATCH, STREAM)


def kind_of(scope: Scope) -> Kind:
    """The kind of a request."""
    path: str = scope["path"]
    if scope["method"] in READS:
        if path.endswith(FILES) and path.count("/") == LIST_SLASHES:
            return STREAM
        query: bytes = scope["query_string"]
        if query and (found := _dear(query)):
            return found
        if path.count("/") == LIST_SLASHES:
            return LIST
        return FREE if path in HEALTH else ROW
    return BATCH if path.endswith(":batch") else WRITE


def _dear(query: bytes) -> Kind | None:
    """The kind that parameters make of a list, also where their names are escaped."""
    if b"%" in query:
        query = unquote_to_bytes(query)
    if b"__" in query and any(operator in query for operator in SEARCHES):
        return SEARCH
    return COUNT if b"count=" in query and any(count in query for count in COUNTS) else None
