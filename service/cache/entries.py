"""What is kept in Redis of one answer: the marks under which it is valid, when it was made, and the bytes that go over the wire.

Marks are random: the epoch's, and one for each tag. They stand in front, so that one comparison tells whether all of them are still
those under which the answer was read.
"""

import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

MARK_BYTES = 8
HEAD = struct.Struct(">dBBH")
ABSENT, PRESENT = 0, 1


@dataclass(frozen=True, slots=True)
class Held:
    """One answer.

    Attributes:
        body: its bytes; None: there is no such row.
        etag: of it.
        cursor: of the page that follows; empty where none does.
        made_at: when it was read, on the clock of whoever read it.
    """

    body: bytes | None
    etag: bytes = b""
    cursor: bytes = b""
    made_at: float = 0.0

    @property
    def age(self) -> int:
        """Whole seconds since it was read."""
        return max(0, int(time.time() - self.made_at))


def mark() -> bytes:
    """A mark that was never there before, and never will be again."""
    return os.urandom(MARK_BYTES)


def stamp(marks: Sequence[bytes | None]) -> bytes | None:
    """The marks as they stand in front of an answer; None where one is missing: under it nothing is valid."""
    return None if None in marks else b"".join(marks)  # type: ignore[arg-type]


def packed(under: bytes, held: Held) -> bytes:
    """An answer, as it is kept under a stamp."""
    kind = ABSENT if held.body is None else PRESENT
    return b"".join(
        (under, HEAD.pack(held.made_at, kind, len(held.etag), len(held.cursor)), held.etag, held.cursor, held.body or b"")
    )


def unpacked(under: bytes, kept: bytes | None) -> Held | None:
    """An answer that is valid under a stamp; None where there is none."""
    if kept is None or not kept.startswith(under):
        return None
    made_at, kind, tag, cursor = HEAD.unpack_from(kept, len(under))
    first = len(under) + HEAD.size
    second = first + tag
    third = second + cursor
    return Held(kept[third:] if kind == PRESENT else None, kept[first:second], kept[second:third], made_at)
