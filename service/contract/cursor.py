"""Cursors: the last row's keys, signed together with the question, good for a while.

The signature covers the question but the token doesn't carry it, so a cursor is bound to its filters and order and stays short.
It doesn't name a path: it outlives the swap of an index. Secrets may be rotated: the newest signs, all are accepted.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.errors import InvalidCursor

SIGNATURE_BYTES = 16
COMPACT = json.JSONEncoder(separators=(",", ":")).encode
"""Keeps integers of any size and the infinities, as orjson doesn't."""
AGAIN = "Begin again without cursor="


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and reads cursors.

    Attributes:
        secrets: newest first, never empty.
        seconds: how long a cursor can be used.
    """

    secrets: Sequence[bytes] = field(repr=False)
    seconds: int

    def seal(self, question: bytes, values: Sequence[Any], now: float) -> str:
        """A cursor for the row with these keys.

        Args:
            question: what the cursor is bound to.
            values: the row's keys, as JSON takes them.
            now: seconds since 1970.
        """
        content = COMPACT([int(now) + self.seconds, *values]).encode()
        return _encoded(_signature(self.secrets[0], question, content) + content)

    def open(self, question: bytes, cursor: str, now: float) -> list[Any]:
        """The keys in a cursor.

        Raises:
            InvalidCursor: it is damaged, made for another question, or has expired.
        """
        signed = _decoded(cursor)
        signature, content = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
        if not any(hmac.compare_digest(signature, _signature(secret, question, content)) for secret in self.secrets):
            raise InvalidCursor(
                f"The cursor was changed, or was given for other filters or another order. {AGAIN}, or send the filters and sort= "
                "it was given for."
            )
        expires, *values = json.loads(content)
        if now > expires:
            raise InvalidCursor(f"The cursor has expired: it is good for {self.seconds} seconds. {AGAIN}.")
        return list(values)


def _encoded(signed: bytes) -> str:
    return base64.urlsafe_b64encode(signed).decode().rstrip("=")


def _decoded(cursor: str) -> bytes:
    try:
        signed = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        signed = b""
    if _encoded(signed) != cursor or not cursor:  # base64 has several spellings of the same bytes
        raise InvalidCursor(f"This is no cursor that the service gave. {AGAIN}.")
    return signed


def _signature(secret: bytes, question: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, len(question).to_bytes(8) + question + content, "sha256")[:SIGNATURE_BYTES]
