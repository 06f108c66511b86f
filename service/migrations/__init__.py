"""Migrations: what Alembic's environment calls, and how Python code runs them.

`alembic/env.py` calls `run`; commands and tests call `upgrade`, `downgrade`, `plan`, `current`, `head` and `drift`. Importing this
package registers what autogenerate has to know beyond Alembic: row versions, extensions, defaults and
indexes as PostgreSQL writes them.
"""

from service.migrations import comparing, defaults, extensions, triggers
from service.migrations.commands import current, downgrade, drift, goes_back, head, plan, upgrade
from service.migrations.planning import Planned
from service.migrations.running import run

__all__ = [
    "Planned",
    "comparing",
    "current",
    "defaults",
    "downgrade",
    "drift",
    "extensions",
    "goes_back",
    "head",
    "plan",
    "run",
    "triggers",
    "upgrade",
]
