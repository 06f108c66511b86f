"""Chance without a die: SQL expressions whose values look random, and are the same for the same row in every run.

Each takes a key, a bigint expression such as a row's id, and a salt that tells one draw about that row from another. They rest on
`hashint8extended`, PostgreSQL's own hash of a bigint, which hash partitioning keeps as it is from version to version.
"""

from collections.abc import Iterator, Sequence

CHUNK = 100_000
"""Rows that one statement makes: large enough to be quick, small enough to show progress."""
BITS = 53
POSITIVE = 2**63 - 1


def draw(key: str, salt: int) -> str:
    """A double precision expression, evenly spread over 0 (included) to 1 (not included)."""
    return f"(((hashint8extended({key}, {salt}) >> 10) & {2**BITS - 1})::float8 / {2**BITS})"


def pick(key: str, salt: int, count: int | str) -> str:
    """A bigint expression, evenly spread over 0 to count - 1."""
    return f"((hashint8extended({key}, {salt}) & {POSITIVE}) % {count})"


def skewed(key: str, salt: int, count: int, power: float) -> str:
    """A bigint expression, 0 to count - 1, of which the low ones come often: the greater the power, the more often."""
    return f"floor({count} * power({draw(key, salt)}, {power}))::bigint"


def array(words: Sequence[str]) -> str:
    """A text[] literal."""
    return "ARRAY[" + ", ".join("'" + word.replace("'", "''") + "'" for word in words) + "]"


def spans(last: int) -> Iterator[str]:
    """Sources of the bigint column `id`, a chunk each, which together count from 1 to `last`."""
    for first in range(1, last + 1, CHUNK):
        yield f"generate_series({first}::bigint, {min(first + CHUNK - 1, last)}) AS id"
