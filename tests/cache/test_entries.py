"""What is kept is read again as it was, and under its own marks only."""

from hypothesis import given
from hypothesis import strategies as st

from service.cache.entries import MARK_BYTES, Held, mark, packed, stamp, unpacked


@given(st.none() | st.binary(), st.binary(max_size=90), st.binary(max_size=300), st.floats(0, 4e9), st.integers(1, 5))
def test_there_and_back(body: bytes | None, etag: bytes, cursor: bytes, made_at: float, marks: int) -> None:
    under = stamp([mark() for _ in range(marks)])
    assert under
    held = Held(body, etag, cursor, made_at)
    assert unpacked(under, packed(under, held)) == held
    assert unpacked(under[:-1] + bytes([under[-1] ^ 1]), packed(under, held)) is None
    assert unpacked(under, None) is None


def test_marks() -> None:
    assert len({mark() for _ in range(1000)}) == 1000
    assert len(mark()) == MARK_BYTES
    assert stamp([mark(), None]) is None


def test_age() -> None:
    assert Held(b"", made_at=0.0).age > 1_000_000
    assert Held(b"", made_at=4e9).age == 0
