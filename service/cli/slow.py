"""`shelfmark slow`: the questions that took too long in the database, with their paths and plans."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from service import settings
from service.cli.standing import show_json
from service.db.slow import SlowQuestion, slow_questions
from service.errors import SetupError
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.migrations.running import new_engine

NO_TABLE, NO_RIGHT = "42P01", "42501"
NONE = "No question was slow, or none of late. What counts as slow says SHELFMARK_SLOW_QUESTION_MS."


def run(table: str | None, most: int, *, as_json: bool) -> None:
    """Print the slow questions, what took the longest first.

    Args:
        table: of this one only; None: of all.
        most: how many.
        as_json: print JSON.

    Raises:
        SetupError: no database is configured, or it can't be used, or it remembers no slow questions.
    """
    url = database_url(settings.load(), direct=True)
    with in_sentences(url):
        found = asyncio.run(_looked(url))
    found = [one for one in found if table in {None, one.table}][:most]
    if as_json:
        show_json({"slow": [asdict(one) for one in found]})
    else:
        out = Console(highlight=False, soft_wrap=True)
        for line in _lines(found):
            out.print(line)


async def _looked(url: str) -> Sequence[SlowQuestion]:
    engine = new_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection, AsyncSession(connection) as session:
            return await slow_questions(session)
    except DBAPIError as error:
        state: Any = getattr(error.orig, "sqlstate", None)
        if state == NO_TABLE:
            raise SetupError("The database remembers no slow questions yet: run `shelfmark migrate`.") from error
        if state == NO_RIGHT:
            raise SetupError("The role may not read them: GRANT SELECT ON shelfmark_slow_questions to it.") from error
        raise
    finally:
        await engine.dispose()


def _lines(found: Sequence[SlowQuestion]) -> Iterator[str]:
    if not found:
        yield NONE
    for number, one in enumerate(found):
        if number:
            yield ""
        yield f"[bold]{escape(one.table)}[/]  {escape(one.question)}"
        times = "once" if one.times == 1 else f"{one.times:,} times, {one.total_ms / max(one.times, 1):,.0f} ms on average"
        yield f"   longest  {one.longest_ms:,.0f} ms; {times}; last at {one.last_at:%Y-%m-%d %H:%M} UTC"
        yield f"   path     {escape(one.path)}"
        for line_number, line in enumerate((one.plan or "nobody has asked for it yet").splitlines()):
            yield f"   {'plan' if not line_number else '':<8} {escape(line)}"
