"""The ranges after a row, as they are written down. That they hold the right rows is shown in test_answers.py."""

import pytest

from service.contract.keyset import After, Branch, Equal, Null, after
from service.contract.path import Key

year = Key("year", descending=True, nullable=True)  # NULLs last, as `-year` asks
id_down = Key("id", descending=True)
rating = Key("rating", descending=True)
id_up = Key("id")

CASES: dict[str, tuple[list[Key], dict[str, int | None], list[Branch]]] = {
    "one key": ([id_up], {"id": 5}, [(After(("id",), (5,), descending=False),)]),
    "one key, backward": ([id_down], {"id": 5}, [(After(("id",), (5,), descending=True),)]),
    "one direction is one row comparison": (
        [rating, id_down], {"rating": 7, "id": 5}, [(After(("rating", "id"), (7, 5), descending=True),)],
    ),
    "mixed directions are one range for each prefix": (
        [rating, id_up],
        {"rating": 7, "id": 5},
        [(Equal(("rating",), (7,)), After(("id",), (5,), descending=False)), (After(("rating",), (7,), descending=True),)],
    ),
    "NULLs last come as a second range": (
        [year, id_down],
        {"year": 1990, "id": 5},
        [(After(("year", "id"), (1990, 5), descending=True),), (Null("year"),)],
    ),
    "among the NULLs, last": (
        [year, id_down], {"year": None, "id": 5}, [(Null("year"), After(("id",), (5,), descending=True))],
    ),
    "among the NULLs, first": (
        [year.reversed(), id_up],
        {"year": None, "id": 5},
        [(Null("year"), After(("id",), (5,), descending=False)), (Null("year", negated=True),)],
    ),
    "past NULLs that came first": (
        [year.reversed(), id_up], {"year": 1990, "id": 5}, [(After(("year", "id"), (1990, 5), descending=False),)],
    ),
    "a nullable key ends a row comparison": (
        [rating, year, id_down],
        {"rating": 7, "year": 1990, "id": 5},
        [
            (Equal(("rating",), (7,)), After(("year", "id"), (1990, 5), descending=True)),
            (Equal(("rating",), (7,)), Null("year")),
            (After(("rating",), (7,), descending=True),),
        ],
    ),
    "NULL in the middle": (
        [rating, year, id_down],
        {"rating": 7, "year": None, "id": 5},
        [
            (Equal(("rating",), (7,)), Null("year"), After(("id",), (5,), descending=True)),
            (After(("rating",), (7,), descending=True),),
        ],
    ),
    "nothing follows the NULL of a unique key that comes last": ([year], {"year": None}, []),
    "nothing follows the one row of an order without keys": ([], {}, []),
}  # fmt: skip


@pytest.mark.parametrize(("keys", "values", "branches"), CASES.values(), ids=CASES.keys())
def test_after(keys: list[Key], values: dict[str, int | None], branches: list[Branch]) -> None:
    assert after(keys, values) == branches
