"""Migrations: what Alembic's environment calls, and how Python code runs them.

`alembic/env.py` calls `run`; commands and tests call `upgrade`, `downgrade`, `current`, `head` and `drift`. Importing this package
registers what autogenerate has to know beyond Alembic: row versions, extensions, defaults and
indexes as PostgreSQL writes them.
"""

from service.migrations import defaults, extensions, indexes, triggers
from service.migrations.commands import current, downgrade, drift, head, upgrade
from service.migrations.running import run

__all__ = [
    "current",
    "defaults",
    "downgrade",
    "drift",
    "extensions",
    "head",
    "indexes",
    "run",
    "triggers",
    "upgrade",
]
