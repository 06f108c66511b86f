"""The key of whoever runs `shelfmark up`: made once, kept beside the servers' data, and good for everything."""

import asyncio
from pathlib import Path

from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.db import keys
from service.db.keys import Granted
from service.http.scopes import ADMIN
from service.http.tokens import Signatures, new, prefix_of
from service.local import header
from service.local.held import turn
from service.local.places import explained

GRANTED = Granted("shelfmark up", (ADMIN,), {})


def admit(url: str, signatures: Signatures, directory: Path) -> bool:
    """Make sure that the key in the directory's header works.

    It stays the same as long as it does. One that was revoked, or signed by another secret, is left as it is, and another made.

    Args:
        url: the database of `up`.
        signatures: of the service's secrets.
        directory: where `up` keeps its data.

    Returns:
        False where the database has no table for keys yet: the header is there, and doesn't let anybody in.
    """
    with explained(directory), turn(directory / "lock"):
        return asyncio.run(_admitted(url, signatures, directory))


async def _admitted(url: str, signatures: Signatures, directory: Path) -> bool:
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with engine.begin() as connection:
            there = await keys.is_there(connection)
            token = header.kept(directory)
            if token is None or (there and await _is_spent(connection, signatures, token)):
                token = new()
                header.keep(directory, token)
            signed = signatures.sign(token.encode())
            if there and await keys.find(connection, signed.prefix) is None:
                await keys.add(connection, signed, GRANTED)
            return there
    finally:
        await engine.dispose()


async def _is_spent(connection: AsyncConnection, signatures: Signatures, token: str) -> bool:
    """Whether a key can't be used any more. One that the database hasn't heard of can: the data may have been thrown away."""
    prefix = prefix_of(token.encode())
    if prefix is None:
        return True
    living = (await keys.living(connection, [prefix])).get(prefix)
    if living is None:
        return await keys.find(connection, prefix) is not None
    return not signatures.fits(token.encode(), living.signed)
