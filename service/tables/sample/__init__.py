"""An invented library of any size, the same each time: what `shelfmark sample` and an empty `shelfmark up` fill the tables with.

`SAMPLES` names the tables in the order in which they are filled, and for each what makes the statements: a function of the size, in
books, and of the day on which the library is seen; all dates lie before that day. The rows are made inside PostgreSQL by `INSERT
... SELECT`, not sent by COPY: see docs/decisions/sample-data.md. `catalogue.py` writes invented books as a file, for imports.

Whoever replaces the library by tables of their own deletes this folder with it.
"""

from service.tables.sample.catalogue import write
from service.tables.sample.circulation import book_statistics, events, holds, loans, members
from service.tables.sample.holdings import authors, books, copies

__all__ = ["SAMPLES", "write"]

SAMPLES = {
    "authors": authors,
    "books": books,
    "copies": copies,
    "members": members,
    "loans": loans,
    "holds": holds,
    "events": events,
    "book_statistics": book_statistics,
}
