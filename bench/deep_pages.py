"""What a page costs, however deep it lies: buffers of page 1 and of page 10,000, by cursor and by OFFSET.

    python -m bench.deep_pages --rows 1000000

Three questions: one along an index with NULLs, one that leads with an equality, one along an index of mixed directions.
A buffer is one page of 8 KB that PostgreSQL touched, in memory or not: a count that doesn't depend on the machine.
"""

import argparse
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import NullPool, Select, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bench.servers import own_database, server
from service import migrations
from service.contract.choose import choose
from service.contract.question import Question, Sort
from service.db import Model, surface
from service.db.engine import reading_engine
from service.db.model import table_of
from service.db.statements import Asked
from service.settings import Settings
from service.tables.books import Book
from tests.fixtures.parcels import Parcel

PAGE, FIRST, DEEP, PROMISE = 50, 1, 10_000, 1.2
AUTHORS = "INSERT INTO authors (name) SELECT 'Author ' || g FROM generate_series(1, 1000) AS g"
BOOKS = """
INSERT INTO books (title, author_id, isbn13, language, published_year, ratings_count)
SELECT 'Title ' || g % 9973, CASE WHEN random() < 0.7 THEN 1 ELSE 1 + floor(random() * 1000)::int END, 'isbn ' || g,
       CASE WHEN random() < 0.7 THEN 'eng' END, CASE WHEN random() < 0.6 THEN 2020 - floor(random() * 300)::int END,
       floor(random() * 5000)::int
FROM generate_series(1, {rows}) AS g
"""
PARCELS = """
INSERT INTO parcels (code, zone, slot, label, weight, posted, fragile)
SELECT gen_random_uuid(), floor(random() * 3)::int, g, 'Label ' || g % 9973,
       CASE WHEN random() < 0.6 THEN floor(random() * 1000) / 4 END, '2020-01-01'::date + floor(random() * 900)::int, false
FROM generate_series(1, {rows}) AS g
"""


@dataclass(frozen=True)
class Walk:
    """A question whose pages are measured."""

    title: str
    model: type[Model]
    question: Question


WALKS = (
    Walk("newest books, 40 % of them without a year", Book, Question()),
    Walk("books of the author of 70 %, newest first", Book, Question({"author_id": 1})),
    Walk("parcels by zone, the heaviest first", Parcel, Question(sort=(Sort("zone"), Sort("weight", descending=True), Sort("id")))),
)


@dataclass(frozen=True)
class Cost:
    """Buffers that a page touched, by its number, with a cursor and with OFFSET."""

    walk: Walk
    pages: Mapping[int, int]
    offsets: Mapping[int, int]

    @property
    def ratio(self) -> float:
        """The deepest page by the first."""
        return self.pages[max(self.pages)] / self.pages[FIRST]

    def __str__(self) -> str:
        lines = [f"  page {page:>6,}: {self.pages[page]:>7,} by cursor, {self.offsets[page]:>9,} by OFFSET" for page in self.pages]
        return "\n".join([self.walk.title, *lines, f"  ratio {self.ratio:.2f}, promised at most {PROMISE}"])


async def measured(connection: AsyncConnection, walk: Walk, deep: int = DEEP) -> Cost:
    """What the first page and a deep one cost.

    Raises:
        SystemExit: the table ends before that page.
    """
    of = surface(walk.model)
    choice = choose(of.contract, walk.question)
    assert choice  # noqa: S101 - the questions stand above, with their indexes
    asking = Asked(of, walk.question, choice)
    names = list(of.expressions.keys() & set(walk.model.__mapper__.column_attrs.keys()))
    keys = [sort.name for sort in choice.order]
    first = asking.page(keys, 1)
    assert isinstance(first, Select)  # noqa: S101 - a page without a cursor has one range
    pages, offsets = {}, {}
    for number in (FIRST, deep):
        before = (number - 1) * PAGE
        found = (await connection.execute(first.offset(before - 1))).mappings().first() if before else None
        if before and found is None:
            raise SystemExit(f"{walk.title}: there is no page {number:,}; give more --rows")
        last = {str(name): value for name, value in found.items()} if found else None
        pages[number] = await buffers(connection, asking.page(names, PAGE + 1, last))
        whole = asking.page(names, PAGE + 1)
        offsets[number] = await buffers(connection, whole.offset(before))
    return Cost(walk, pages, offsets)


async def buffers(connection: AsyncConnection, statement: Any) -> int:
    """How many buffers a statement touches, the second time it runs."""
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    values = tuple(compiled.params[name] for name in compiled.positiontup)
    for _ in range(2):
        answer = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled}", values)
    plan = answer.scalar_one()[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def filled(url: str, rows: int) -> None:
    """Make the tables and fill them."""
    await asyncio.to_thread(migrations.upgrade, url)
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.run_sync(lambda plain: table_of(Parcel).create(plain))
        for statement in (AUTHORS, BOOKS, PARCELS):
            await connection.exec_driver_sql(statement.replace("{rows}", str(rows)))
        await connection.execute(text("VACUUM ANALYZE"))
    await engine.dispose()


async def run(server: str, rows: int, deep: int) -> bool:
    """Fill, measure, print; whether the promise holds."""
    async with own_database(server) as url:
        await filled(url, rows)
        engine = reading_engine(url, Settings(read_timeout_ms=60_000))
        async with engine.connect() as connection:
            costs = [await measured(connection, walk, deep) for walk in WALKS]
        await engine.dispose()
    print(f"Buffers of a page of {PAGE} rows, {rows:,} rows in each table\n", *costs, sep="\n")  # noqa: T201
    return all(cost.ratio <= PROMISE for cost in costs)


def main() -> None:
    """Measure on a given server, or on one of its own that doesn't outlive the measurement."""
    options = argparse.ArgumentParser(description="Measure what deep pages cost.")
    options.add_argument("--rows", type=int, default=1_000_000, help="in each table")
    options.add_argument("--page", type=int, default=DEEP, help="the deep page's number")
    options.add_argument("--url", help="a PostgreSQL whose user may create databases; by default an embedded one")
    given = options.parse_args()
    with server(given.url) as url:
        held = asyncio.run(run(url, given.rows, given.page))
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
