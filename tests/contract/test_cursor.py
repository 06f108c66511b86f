"""Cursors: what was sealed comes out again, and nothing else does."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.cursor import SIGNATURE_BYTES, Signer
from service.errors import InvalidCursor

NOW = 1_800_000_000.5
QUESTION = b"books?author_id=7&sort=-published_year"
signer = Signer((b"newest" * 8,), seconds=60)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(scalars, max_size=4), st.binary(max_size=12))
def test_what_was_sealed_comes_out_again(values: list[object], question: bytes) -> None:
    assert signer.open(question, signer.seal(question, values, NOW), NOW) == values


def test_null_and_integers_of_any_size_keep_their_type() -> None:
    opened = signer.open(QUESTION, signer.seal(QUESTION, [None, 2**63, -(2**63), 0, False, ""], NOW), NOW)
    assert [(value, type(value)) for value in opened] == [
        (None, type(None)), (2**63, int), (-(2**63), int), (0, int), (False, bool), ("", str),
    ]  # fmt: skip


def test_a_cursor_goes_into_a_url_as_it_is() -> None:
    assert set(signer.seal(QUESTION, ["ÿ?>~", None, 1], NOW)) <= set(ALPHABET)


def test_a_cursor_names_neither_the_question_nor_the_secret() -> None:
    sealed = base64.urlsafe_b64decode(signer.seal(QUESTION, [1], NOW) + "==")
    assert json.loads(sealed[SIGNATURE_BYTES:]) == [int(NOW) + 60, 1]
    assert "newest" not in repr(signer)


@pytest.mark.parametrize("other", [b"", QUESTION[:-1], QUESTION + b" ", b"loans" + QUESTION[5:]])
def test_a_cursor_is_bound_to_its_question(other: bytes) -> None:
    with pytest.raises(InvalidCursor, match=r"other filters or another order\. Begin again without cursor="):
        signer.open(other, signer.seal(QUESTION, [7], NOW), NOW)


def test_bytes_cannot_move_from_the_question_into_the_values() -> None:
    cursor = signer.seal(b"books", [1], NOW)
    signed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    content = signed[SIGNATURE_BYTES:]
    moved = signed[:SIGNATURE_BYTES] + b"s" + content
    with pytest.raises(InvalidCursor):
        signer.open(b"book", base64.urlsafe_b64encode(moved).decode().rstrip("="), NOW)


def test_a_cursor_is_good_to_the_last_second_and_no_longer() -> None:
    cursor = signer.seal(QUESTION, [7], NOW)
    assert signer.open(QUESTION, cursor, int(NOW) + 60) == [7]
    with pytest.raises(InvalidCursor, match=r"has expired: it is good for 60 seconds\. Begin again without cursor="):
        signer.open(QUESTION, cursor, int(NOW) + 60.001)


def test_a_changed_character_anywhere_is_noticed() -> None:
    cursor = signer.seal(QUESTION, [None, 2008, "é"], NOW)
    for at, character in enumerate(cursor):
        for other in ALPHABET:
            if other != character:
                refused(cursor[:at] + other + cursor[at + 1 :])


def test_a_changed_bit_anywhere_is_noticed() -> None:
    signed = base64.urlsafe_b64decode(signer.seal(QUESTION, [7], NOW) + "==")
    for at in range(len(signed) * 8):
        changed = bytearray(signed)
        changed[at // 8] ^= 1 << at % 8
        refused(base64.urlsafe_b64encode(changed).decode().rstrip("="))


def test_a_cursor_cut_short_or_made_longer_is_noticed() -> None:
    cursor = signer.seal(QUESTION, [7, 8], NOW)
    for at in range(len(cursor)):
        refused(cursor[:at])
        refused(cursor[at + 1 :])
        refused(cursor + cursor[:at] + "A")


GARBAGE = ["", "=", "====", "a", "ab", "AAAA", " ", "é", "\ud800", "\x00", "💥" * 5, "null", "..", "%00", "A" * 1_000_000, "\n"]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: ascii(garbage)[:12])
def test_garbage_is_refused_with_what_to_do(garbage: str) -> None:
    with pytest.raises(InvalidCursor, match="Begin again without cursor="):
        signer.open(QUESTION, garbage, NOW)


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    refused(text)


def test_each_cursor_has_one_spelling() -> None:
    spellings = {signer.seal(QUESTION, [1, "?" * length, "~~~~"], NOW) for length in range(9)}
    assert any("-" in cursor or "_" in cursor for cursor in spellings)
    for cursor in spellings:
        refused(cursor + "=" * (-len(cursor) % 4 or 4))
        refused(cursor + "\n")
        if (plain := cursor.replace("-", "+").replace("_", "/")) != cursor:
            refused(plain)


def test_secrets_rotate() -> None:
    old, new = b"old" * 11, b"new" * 11
    before, both, after = Signer((old,), 60), Signer((new, old), 60), Signer((new,), 60)
    assert both.open(QUESTION, before.seal(QUESTION, [1], NOW), NOW) == [1]
    assert after.open(QUESTION, both.seal(QUESTION, [2], NOW), NOW) == [2]
    with pytest.raises(InvalidCursor):
        after.open(QUESTION, before.seal(QUESTION, [1], NOW), NOW)


def refused(cursor: str) -> None:
    """The signer must not open it."""
    with pytest.raises(InvalidCursor):
        signer.open(QUESTION, cursor, NOW)
