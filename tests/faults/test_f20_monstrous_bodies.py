"""F20: a body of 50 MB, JSON 100,000 deep: refused within a second, and memory stays bounded."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.faults.figures import Figures, fault
from tests.faults.served import served
from tests.fixtures.keys import ADMIN

MEGABYTE = 1_000_000
HEAD = b"POST /v1/books HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nauthorization: Bearer %s\r\n"
GROWTH_BYTES_MOST = 32 * MEGABYTE
AT_ONCE = 8


async def sent(port: int, head: bytes, parts: Callable[[], list[bytes]]) -> tuple[int, float]:
    """The status of the answer to a body, and the seconds that it took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()

    async def write() -> None:
        try:
            writer.write(HEAD % ADMIN.encode() + head + b"\r\n")
            for part in parts():
                writer.write(part)
                await writer.drain()
        except ConnectionError:
            return

    writing = asyncio.ensure_future(write())
    status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    took = time.monotonic() - began
    await writing
    writer.transport.abort()
    return status, took


def chunked(size: int) -> list[bytes]:
    """A body of so many bytes whose length isn't said."""
    part = b" " * 100_000
    return [b"%x\r\n%s\r\n" % (len(part), part)] * (size // len(part)) + [b"0\r\n\r\n"]


DEEP = b'{"title":"It","author_id":1,"attributes":%s}' % (b"[" * 100_000 + b"]" * 100_000)
LESS_DEEP = b'{"title":"It","author_id":1,"attributes":%s}' % (b"[" * 500 + b"]" * 500)
NUMBER = b'{"title":"It","author_id":1,"attributes":{"a":%s}}' % (b"9" * MEGABYTE)

BODIES: dict[str, tuple[bytes, Callable[[], list[bytes]], set[int]]] = {
    "50 MB": (b"content-length: 50000000\r\n", lambda: [b" " * 100_000] * 500, {413}),
    "50 MB in chunks": (b"transfer-encoding: chunked\r\n", lambda: chunked(50 * MEGABYTE), {413}),
    "JSON 100,000 deep": (b"content-length: %d\r\n" % len(DEEP), lambda: [DEEP], {400}),
    "JSON 500 deep": (b"content-length: %d\r\n" % len(LESS_DEEP), lambda: [LESS_DEEP], {422}),
    "a number of a million digits": (b"content-length: %d\r\n" % len(NUMBER), lambda: [NUMBER], {400}),
}


@pytest.mark.slow
@fault(
    "F20",
    done="a body that no service should read is sent, alone and eight times at once",
    holds="refused within 1 s; memory grows by no more than 32 MB",
)
@pytest.mark.parametrize("name", BODIES)
async def test_monstrous_bodies(name: str, database_url: str, figures: Figures) -> None:
    head, parts, expected = BODIES[name]
    with served(database_url) as serving:
        await sent(serving.port, b"content-length: 2\r\n", lambda: [b"{}"])
        before = serving.resident_bytes()
        alone = await sent(serving.port, head, parts)
        together = await asyncio.gather(*(sent(serving.port, head, parts) for _ in range(AT_ONCE)))
        grown = serving.resident_bytes() - before
    figures.tell(
        f"{alone[0]} after {alone[1] * 1000:.0f} ms, eight at once after {max(took for _, took in together) * 1000:.0f} ms; "
        f"memory grew by {grown / MEGABYTE:.1f} MB"
    )
    assert {status for status, _ in (alone, *together)} == expected
    assert alone[1] < 1
    assert grown < GROWTH_BYTES_MOST
