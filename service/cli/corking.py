"""Head and body of an answer in one packet: uvicorn writes them one after the other, and each write is a call of the kernel.

For a short answer that is a third of the server's work, and the client wakes up twice. So a head is held back until its body comes,
or until the loop comes round: heads without a body, and those of streams, go out then.
"""

import asyncio
from typing import Any

HEAD = b"HTTP/1."


class Corked:
    """A transport that joins a head to what is written right after it; all else goes through.

    Args:
        transport: of the connection.
        loop: the one that it belongs to.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write, or hold a head back for a moment."""
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(HEAD):
            self._held = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Close, once what was held back is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
