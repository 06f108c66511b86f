"""`shelfmark migrate`: the configured database, brought to a revision."""

from rich.console import Console

from service import migrations, settings
from service.local.urls import database_url


def run(revision: str) -> None:
    """Bring the configured database to a revision, and say where it was and is.

    Raises:
        SetupError: no database is configured, or it can't be migrated.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    url = database_url(settings.load(), direct=True)
    before = migrations.current(url)
    migrations.upgrade(url, revision)
    after = migrations.current(url)
    console.print(f"The database is at {after}." if before == after else f"Migrated from {before or 'nothing'} to {after}.")
