"""A small invented sample for an empty database, so that there is something to ask for."""

import asyncio
import tempfile
from pathlib import Path

from rich.console import Console
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import create_async_engine

from service import schema
from service.cli.importing import imported
from service.jobs.importing import Options
from service.jobs.shaping import chosen

SOURCE = "sample"


def fill(url: str, rows: int, console: Console) -> None:
    """Put invented rows into each table that declares a sample, where it is empty."""
    for table, write in schema.samples().items():
        if rows and asyncio.run(_is_empty(url, table)):
            with tempfile.TemporaryDirectory(prefix="shelfmark-") as folder:
                path = Path(folder) / f"{SOURCE}.csv"
                with path.open("w", newline="") as file:
                    write(file, rows)
                summary = asyncio.run(imported(url, chosen(table, schema.modules()), str(path), Options(source=SOURCE)))
            console.print(f"{summary.inserted:,} invented {table} were put into the empty database")


async def _is_empty(url: str, table: str) -> bool:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return not (await connection.scalar(text(f'SELECT EXISTS (SELECT FROM "{table}")')))
    finally:
        await engine.dispose()
