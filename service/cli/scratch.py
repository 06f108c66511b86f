"""A database beside the configured one, for as long as something is tried there; it is empty at first, and dropped at the end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from service.errors import SetupError
from service.migrations.failures import in_sentences
from service.migrations.running import new_engine

PREFIX = "shelfmark_scratch_"
NO_RIGHT = "42501"
# Until version 16 the column of the provider's own locale was called daticulocale.
LOCALE = text("""
SELECT datcollate, datctype, datlocprovider::text, coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
       current_user
FROM pg_database d WHERE datname = current_database()
""")
PROVIDERS = {"i": "LOCALE_PROVIDER icu ICU_LOCALE", "b": "LOCALE_PROVIDER builtin BUILTIN_LOCALE"}


@contextmanager
def scratch(url: str) -> Iterator[str]:
    """A new database on the server of another, with the same locale; its URL. It is dropped when the block ends, whatever ended it.

    Args:
        url: of the database beside which it is made.

    Raises:
        SetupError: the server can't be reached, or the role may not create databases.
    """
    name = f"{PREFIX}{uuid4().hex[:12]}"
    with in_sentences(url):
        asyncio.run(_created(url, name))
    try:
        yield make_url(url).set(database=name).render_as_string(hide_password=False)
    finally:
        with in_sentences(url):
            asyncio.run(_executed(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


async def _created(url: str, name: str) -> None:
    engine = new_engine(url)
    try:
        async with engine.connect() as connection:
            collate, kind, provider, locale, role = (await connection.execute(LOCALE)).one()
    finally:
        await engine.dispose()
    own = f" {PROVIDERS[provider]} {_literal(locale)}" if provider in PROVIDERS else ""
    where = f"TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE {_literal(collate)} LC_CTYPE {_literal(kind)}{own}"
    try:
        await _executed(url, f"CREATE DATABASE {name} {where}")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != NO_RIGHT:
            raise
        raise SetupError(
            f"The role {role} may not create databases, and a scratch database is one. Grant it (ALTER ROLE {role} CREATEDB), or "
            "name in DATABASE_URL a server where it may."
        ) from error


async def _executed(url: str, statement: str) -> None:
    engine = new_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql(statement)
    finally:
        await engine.dispose()


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
