"""`shelfmark migrate`: the configured database, brought to a revision; what is done, and whom it holds up, is shown before."""

import logging
from collections.abc import Sequence

from rich.console import Console

from service import migrations, settings
from service.errors import SetupError
from service.local.urls import database_url
from service.migrations import Planned
from service.telemetry import configure_logging

BEFORE = (
    "{revision} lies before {before}, where the database is. Going back drops what came after, with its rows: --dry-run shows what "
    "that is, --back does it. Nothing was done."
)
UNKNOWN = "  can't be shown: it asks the database on its way"


def run(revision: str, *, dry_run: bool = False, back: bool = False) -> None:
    """Show the way from where the configured database is to a revision, go it, and say where it is then.

    Raises:
        SetupError: no database is configured, it can't be migrated, or the way leads back and that wasn't asked for.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    loaded = settings.load()
    configure_logging(loaded)
    logging.getLogger("alembic.runtime.migration").addFilter(_runs)
    url = database_url(loaded, direct=True)
    before = migrations.current(url)
    if dry_run:
        _show(console, migrations.plan(url, revision))
        console.print(f"Nothing was done. The database is at {before or 'no migration'}.")
        return
    goes_back = migrations.goes_back(url, revision)
    if goes_back and not back:
        raise SetupError(BEFORE.format(revision=revision, before=before))
    go = migrations.downgrade if goes_back else migrations.upgrade
    go(url, revision, told=lambda planned: _show(console, planned))
    after = migrations.current(url)
    console.print(
        f"The database is at {after or 'no migration'}."
        if before == after
        else f"Migrated from {before or 'nothing'} to {after or 'nothing'}."
    )


def _runs(record: logging.LogRecord) -> bool:
    """Of Alembic's news, which migration runs."""
    return record.levelno > logging.INFO or record.getMessage().startswith("Running ")


def _show(console: Console, planned: Sequence[Planned]) -> None:
    """Each migration, each of its steps, and below each whom it holds up."""
    for one in planned:
        console.print(f"{'Back from ' if one.back else ''}{one.revision}{f': {one.title}' if one.title else ''}")
        if one.steps is None:
            console.print(UNKNOWN)
        for step in one.steps or ():
            console.print(f"  {step.words}\n    {step.effect}")
        console.print()
