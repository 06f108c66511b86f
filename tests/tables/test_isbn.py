"""ISBNs against their definition (ISO 2108), and as spreadsheets leave them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.tables.isbn import check_ten, isbn13_of, sound_isbn13

nine_digits = st.from_regex(r"[0-9]{9}", fullmatch=True).filter(lambda digits: digits.strip("0"))
wrong_by = st.integers(1, 9)


def is_isbn10(text: str) -> bool:
    """The definition: the digits weighed 10 down to 1 sum up to a multiple of 11; X is ten."""
    digits = [10 if digit == "X" else int(digit) for digit in text]
    return sum((10 - place) * digit for place, digit in enumerate(digits)) % 11 == 0


def is_isbn13(text: str) -> bool:
    """The definition: the digits weighed 1 and 3 in turn sum up to a multiple of 10."""
    return sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(text)) % 10 == 0


@settings(deadline=None)
@given(nine_digits)
def test_check_digit_fits_the_definition(nine: str) -> None:
    assert is_isbn10(nine + check_ten(nine))


@settings(deadline=None)
@given(nine_digits, st.sampled_from(["", "-", " "]))
def test_ten_digits_become_thirteen(nine: str, between: str) -> None:
    found = isbn13_of(between.join(nine + check_ten(nine)))
    assert found is not None
    assert found[:12] == "978" + nine
    assert is_isbn13(found)


@settings(deadline=None)
@given(nine_digits)
def test_lost_zeros_come_back(nine: str) -> None:
    whole = nine + check_ten(nine)
    assert isbn13_of(whole.lstrip("0")) == isbn13_of(whole)


@settings(deadline=None)
@given(nine_digits, st.sampled_from("0123456789X"))
def test_any_other_check_digit_is_refused_with_the_right_one(nine: str, other: str) -> None:
    right = check_ten(nine)
    if other == right:
        return
    with pytest.raises(ValueError, match="check digit is wrong") as caught:
        isbn13_of(nine + other)
    assert f"should be {right})" in str(caught.value)


@settings(deadline=None)
@given(nine_digits, wrong_by)
def test_a_column_of_isbn13_gives_the_number_or_nothing(nine: str, off: int) -> None:
    good = isbn13_of(nine + check_ten(nine))
    assert good is not None
    spoilt = good[:12] + str((int(good[12]) + off) % 10)
    assert sound_isbn13(good) == good
    assert sound_isbn13(spoilt) is None


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_text_breaks_it(text: str) -> None:
    assert sound_isbn13(text) is None or re.fullmatch(r"97[89]\d{10}", str(sound_isbn13(text)))
    try:
        found = isbn13_of(text)
    except ValueError as reason:
        assert str(reason)  # noqa: PT017 - either way is right, but for silence
    else:
        assert found is None or is_isbn13(found)


@pytest.mark.parametrize("spoilt", ["9.78043902348e+12", "76783609419.0", "", "123", "1234567890128", "978043902348X"])
def test_a_spoilt_isbn13_is_nothing(spoilt: str) -> None:
    assert sound_isbn13(spoilt) is None


@pytest.mark.parametrize("text", ["978-0-439-02348-1", " 9780439023481 ", 9780439023481, "9780439023481.0", "439023483", 439023483])
def test_one_book_in_many_spellings(text: object) -> None:
    assert isbn13_of(text) == "9780439023481"


@pytest.mark.parametrize("zeros", ["0", "000-000-000-0", "0.0"])
def test_zeros_are_a_placeholder(zeros: str) -> None:
    assert isbn13_of(zeros) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("B00ABCDEFG", "no ISBN"),
        ("12345678901", "no ISBN"),
        ("43902348x9", "no ISBN"),
        ("9780439023482", r"should be 1\)"),
        ("1234567890128", "begins with 978 or 979"),
    ],
)
def test_what_is_no_isbn_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        isbn13_of(text)
