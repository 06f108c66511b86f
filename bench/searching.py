"""What a search costs, however much it matches: buffers and milliseconds for a rare, a common and an absent pattern.

    python -m bench.searching --rows 1000000

A buffer is one page of 8 KB that PostgreSQL touched. Each search ends with its rows, or is refused because there are too many,
within the time that a reading statement has.
"""

import argparse
import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bench.servers import own_database, server
from service import migrations
from service.contract.choose import choose
from service.contract.question import Question, Sought
from service.db import surface
from service.db.engine import reading_engine
from service.db.searching import FOUND, SEARCH_MOST
from service.db.statements import Asked
from service.settings import Settings
from service.tables.books import Book

PAGE = 51
GIN = ("ix_books_search_title", "ix_books_search_attributes")
AUTHOR = "INSERT INTO authors (name) VALUES ('Anybody')"
BOOKS = """
INSERT INTO books (title, author_id, attributes)
SELECT CASE WHEN g % 50000 = 7 THEN 'A Zzyzx Compendium' ELSE
         'The ' || (ARRAY['History', 'Garden', 'Étude', 'Дом', 'River', 'Winter', 'Night', 'House'])[1 + (hashint8(g) & 7)]
         || ' of ' || md5(g::text) END,
       1, jsonb_build_object('shelf', g % 100000, 'binding', (ARRAY['paper', 'cloth'])[1 + g % 2])
FROM generate_series(1, {rows}) AS g
"""


@dataclass(frozen=True)
class Search:
    """A search that is measured."""

    title: str
    sought: Sought


def _title(called: str, part: str) -> Search:
    return Search(f"{called}: {part}", Sought("title__folded", "icontains", part))


SEARCHES = (
    _title("a rare word", "zzyzx"),
    _title("an absent word", "qqqqq"),
    _title("in every title", "the"),
    _title("in an eighth of them", "the history of"),
    _title("in an eighth, not ASCII", "ÉTUDE"),
    _title("every trigram common, the whole absent", "river of the"),
    Search("a rare member", Sought("attributes", "has", '{"shelf": 7}')),
    Search("in half of the rows", Sought("attributes", "has", '{"binding": "cloth"}')),
    Search("an absent member", Sought("attributes", "has", '{"binding": "gold"}')),
)


@dataclass(frozen=True)
class Cost:
    """What a search touched, how long it took, and how many rows it found; at most one more than it may."""

    search: Search
    buffers: int
    milliseconds: float
    found: int

    def __str__(self) -> str:
        found = f"{self.found:,} rows" if self.found <= SEARCH_MOST else "too many"
        return f"  {self.search.title:<56} {self.buffers:>8,} buffers {self.milliseconds:>9.1f} ms   {found}"


def page_of(search: Search) -> Any:
    """The statement of its first page.

    Raises:
        LookupError: no index serves it.
    """
    question = Question(searches=(search.sought,))
    choice = choose(surface(Book).contract, question)
    if choice is None:
        raise LookupError(f"no index serves {question}")
    return Asked(surface(Book), question, choice).page(list(Book.__mapper__.column_attrs.keys()), PAGE)


async def measured(connection: AsyncConnection, search: Search) -> Cost:
    """What a search costs, the second time it runs."""
    statement = page_of(search)
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    values = tuple(compiled.params[name] for name in compiled.positiontup)
    for _ in range(2):
        answer = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled}", values)
    told = answer.scalar_one()[0]
    first = (await connection.execute(statement)).mappings().first()
    touched = told["Plan"]["Shared Hit Blocks"] + told["Plan"]["Shared Read Blocks"]
    return Cost(search, touched, told["Planning Time"] + told["Execution Time"], first[FOUND] if first else 0)


async def filled(url: str, rows: int) -> None:
    """Make the tables, and fill the books; the GIN indexes are built at the end."""
    await asyncio.to_thread(migrations.upgrade, url)
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        made = (await connection.execute(text(f"SELECT indexdef FROM pg_indexes WHERE indexname IN {GIN}"))).scalars().all()
        await connection.exec_driver_sql(f"DROP INDEX {', '.join(GIN)}")
        for statement in (AUTHOR, BOOKS.replace("{rows}", str(rows)), *made, "VACUUM ANALYZE books"):
            await connection.exec_driver_sql(statement)
    await engine.dispose()


async def costs(server: str, rows: int) -> list[Cost]:
    """Fill a database of its own on a server, and measure every search."""
    async with own_database(server) as url:
        await filled(url, rows)
        engine = reading_engine(url, Settings())
        async with engine.connect() as connection:
            found = [await measured(connection, search) for search in SEARCHES]
        await engine.dispose()
    return found


def main() -> None:
    """Measure on a given server, or on one of its own that doesn't outlive the measurement."""
    options = argparse.ArgumentParser(description="Measure what searches cost.")
    options.add_argument("--rows", type=int, default=1_000_000, help="books")
    options.add_argument("--url", help="a PostgreSQL whose user may create databases; by default an embedded one")
    given = options.parse_args()
    with server(given.url) as url:
        found = asyncio.run(costs(url, given.rows))
    print(f"Searches among {given.rows:,} books", *found, sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
