"""Keys as text: what they look like, that a slip is seen, and that only the one that was kept fits."""

import hmac
import math
import re

from hypothesis import given
from hypothesis import strategies as st

from service.http.tokens import LETTERS, SECRET_CHARACTERS, Signatures, new, prefix_of
from tests.fixtures.keys import ADMIN

OLD, NEW = b"o" * 32, b"n" * 32


def test_a_key_has_256_random_bits() -> None:
    assert SECRET_CHARACTERS * math.log2(len(LETTERS)) >= 256
    made = {new() for _ in range(100)}
    assert len({token[15:58] for token in made}) == 100
    assert all(re.fullmatch(r"shelf_[0-9a-z]{8}_[0-9A-Za-z]{49}", token) for token in made)


def test_a_key_tells_its_prefix() -> None:
    token = new()
    assert prefix_of(token.encode()) == token[6:14]


def test_every_single_slip_is_seen() -> None:
    """Without asking anybody: the checksum is of the whole key."""
    token = new().encode()
    for at in range(len(token)):
        for other in (b"x", b"_", b"\0", b"\xff", b" ", bytes([token[at] ^ 1])):
            changed = token[:at] + other + token[at + 1 :]
            assert changed == token or prefix_of(changed) is None, changed
        assert prefix_of(token[:at]) is None
        assert prefix_of(token[:at] + token[at + 1 :]) is None


@given(st.binary(max_size=200))
def test_whatever_is_sent_is_read(token: bytes) -> None:
    assert prefix_of(token) is None


def test_only_the_key_that_was_kept_fits() -> None:
    signatures, token = Signatures([NEW]), new().encode()
    kept = signatures.sign(token)
    assert (kept.prefix, kept.signed_by) == (prefix_of(token), signatures.newest)
    assert token not in kept.signature
    assert signatures.fits(token, kept)
    assert not signatures.fits(new().encode(), kept)
    assert not signatures.fits(token, None)


def test_secrets_are_replaced_in_turn() -> None:
    token = ADMIN.encode()
    before, both, after = Signatures([OLD]), Signatures([NEW, OLD]), Signatures([NEW])
    kept = before.sign(token)
    assert both.fits(token, kept)
    assert both.knows(kept.signed_by)
    assert both.newest == after.newest != before.newest
    assert not after.fits(token, kept)
    assert not after.knows(kept.signed_by)
    assert after.fits(token, both.sign(token))


def test_a_signature_tells_nothing_of_the_secret() -> None:
    """The name of a secret is no prefix of it, nor of what signs."""
    assert OLD.hex()[:8] != Signatures([OLD]).newest
    assert Signatures([OLD]).sign(ADMIN.encode()).signature != Signatures([NEW]).sign(ADMIN.encode()).signature


def test_a_secret_signs_keys_by_a_key_of_its_own() -> None:
    """What else the secret signs, as cursors, can't be passed off as a key's signature."""
    token = ADMIN.encode()
    assert Signatures([OLD]).sign(token).signature != hmac.digest(OLD, token, "sha256")
