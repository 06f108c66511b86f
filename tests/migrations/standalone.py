"""A project whose migrations are written by hand, run by processes of their own as a deploy runs them; and sessions in the way."""

import asyncio
import io
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config

from service.settings import Settings
from tests.fixtures.processes import ALEMBIC, Ended, Running, run, running
from tests.migrations.projects import CHECKOUT

ENVIRONMENT = '''"""Migrations that a test has written."""

from alembic import context
from sqlalchemy import MetaData

from service import migrations

migrations.run(context, MetaData)
'''
REVISION = '''"""{name}."""

import sqlalchemy as sa

from service.migrations import op

revision = {name!r}
down_revision = {follows!r}


def upgrade() -> None:
    """Go forward."""
    {forward}


def downgrade() -> None:
    """Go back."""
    {back}
'''


class Standalone:
    """A directory with an alembic.ini, and a database."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory, self.url = directory, url
        self.ini = directory / "alembic.ini"
        self.versions = directory / "alembic" / "versions"
        self.versions.mkdir(parents=True)
        self.ini.write_text((CHECKOUT / "alembic.ini").read_text())
        (directory / "alembic" / "env.py").write_text(ENVIRONMENT)
        self._last: str | None = None

    def revise(self, name: str, *forward: str, back: str = "pass", follows: str | None = None) -> None:
        """Write a revision that follows the last one, or a given one; its lines are Python."""
        content = REVISION.format(name=name, follows=follows or self._last, forward="\n    ".join(forward), back=back)
        (self.versions / f"{name}.py").write_text(content)
        self._last = name

    def alembic(self, *words: str, **environment: str) -> Ended:
        """Run Alembic to its end."""
        return run(self.directory, ALEMBIC, *words, DATABASE_URL=plain(self.url), **environment)

    def upgrade(self, settings: Settings, revision: str = "head") -> None:
        """Go forward in this process, with settings of its own."""
        attributes = {"url": self.url, "settings": settings}
        command.upgrade(Config(self.ini, stdout=io.StringIO(), attributes=attributes), revision)

    @contextmanager
    def beginning(self, *words: str, **environment: str) -> Iterator[Running]:
        """Start Alembic; what is left of it at the end of the block is killed."""
        with running(self.directory, ALEMBIC, *words, DATABASE_URL=plain(self.url), **environment) as begun:
            yield begun


def plain(url: str) -> str:
    """A URL as people write it, and as asyncpg wants it."""
    return url.replace("+asyncpg", "")


class Bystander:
    """A session of somebody else, in a thread of its own: its transaction is open until it says otherwise."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection = self._wait(asyncpg.connect(plain(url), server_settings={"application_name": "bystander"}))

    @property
    def process(self) -> int:
        """Its process in PostgreSQL."""
        return int(self._connection.get_server_pid())

    def does(self, statement: str) -> list[Any]:
        """Run a statement to its end, and give what it answers."""
        return list(self._wait(self._connection.fetch(statement)))

    def begins(self, statement: str) -> Future[list[Any]]:
        """Run a statement that may have to wait."""
        return asyncio.run_coroutine_threadsafe(self._connection.fetch(statement), self._loop)

    def leaves(self) -> None:
        """Close the session."""
        self._connection.terminate()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)


@contextmanager
def bystander(url: str) -> Iterator[Bystander]:
    """A session of somebody else, for as long as the block lasts."""
    made = Bystander(url)
    try:
        yield made
    finally:
        made.leaves()
