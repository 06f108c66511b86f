"""ISBNs as they come in files, made sound: the rules behind the books' `isbn13`.

It stands among the tables because ISBNs belong to the library, not to the service: whoever replaces the library by tables of
their own deletes this file with `books.py`. It declares no table, so `service/schema.py` imports it and finds nothing.

The check digits are those of ISO 2108: modulo 11 with the weights 10 to 1 for ten digits, modulo 10 with the weights 1 and 3 for
thirteen.
"""

from collections.abc import Sequence
from operator import mul

TEN = 10
THIRTEEN = 13
BOOKLAND = ("978", "979")
TEN_WEIGHTS = range(10, 1, -1)
THIRTEEN_WEIGHTS = (1, 3) * 6
SEPARATORS = str.maketrans("", "", "- \u00a0\u2010\u2011\u2012\u2013")


def thirteen_digits(nine: str) -> str:
    """The ISBN-13 of an ISBN-10's first nine digits."""
    return _completed("978" + nine)


def isbn13_of(text: object) -> str | None:
    """The ISBN-13 that a column of ISBNs means; None for a placeholder of zeros.

    Hyphens and spaces go, leading zeros that a spreadsheet ate come back, and ten digits become thirteen.

    Raises:
        ValueError: it is no ISBN, or its check digit is wrong. The message says which digit would be right.
    """
    digits = _bare(text)
    if not digits.strip("0"):
        return None
    if len(digits) == THIRTEEN and _only_digits(digits):
        return _checked_thirteen(digits)
    digits = digits.upper().zfill(TEN)
    if len(digits) != TEN or not _only_digits(digits[:-1]) or digits[-1] not in "0123456789X":
        raise ValueError("this is no ISBN: 10 digits (the last may be an X) or 13 are expected")
    if digits[-1] != (right := check_ten(digits[:-1])):
        raise ValueError(f"the check digit is wrong (the last digit should be {right})")
    return thirteen_digits(digits[:-1])


def sound_isbn13(text: object) -> str | None:
    """The ISBN-13 in a column of ISBN-13s, or None where it is spoilt: a spreadsheet's `9.78e+12` is nobody's fault here."""
    digits = _bare(text)
    if len(digits) != THIRTEEN or not _only_digits(digits) or not digits.startswith(BOOKLAND):
        return None
    return digits if _completed(digits[:-1]) == digits else None


def required_isbn13(text: str) -> str:
    """The ISBN-13 that a client names, bare of its hyphens.

    Raises:
        ValueError: it is none.
    """
    digits = sound_isbn13(text)
    if digits is None:
        raise ValueError("no ISBN-13: thirteen digits that begin with 978 or 979, the last of them the check digit")
    return digits


def check_ten(nine: str) -> str:
    """The last character of the ISBN-10 that begins with these nine digits."""
    remainder = -_weighed(nine, TEN_WEIGHTS) % 11
    return "X" if remainder == TEN else str(remainder)


def _completed(twelve: str) -> str:
    return twelve + str(-_weighed(twelve, THIRTEEN_WEIGHTS) % 10)


def _weighed(digits: str, weights: Sequence[int]) -> int:
    return sum(map(mul, map(int, digits), weights))


def _checked_thirteen(digits: str) -> str:
    if not digits.startswith(BOOKLAND):
        raise ValueError("13 digits that are no ISBN: one begins with 978 or 979")
    if (right := _completed(digits[:-1])) != digits:
        raise ValueError(f"the check digit is wrong (the last digit should be {right[-1]})")
    return digits


def _bare(text: object) -> str:
    digits = str(text)
    return digits if digits.isalnum() else digits.translate(SEPARATORS).strip().removesuffix(".0")


def _only_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
