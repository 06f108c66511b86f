"""What names and titles are made of."""

import pytest

from service.tables.sample.words import CULTURES, Culture


def test_shares_are_of_a_hundred() -> None:
    assert sum(culture.share for culture in CULTURES) == 100


@pytest.mark.parametrize("culture", CULTURES, ids=lambda culture: culture.language)
def test_nothing_stands_twice(culture: Culture) -> None:
    """A name that stood twice would make two authors of one name."""
    for words in (culture.given, culture.family, culture.words):
        assert len({word.lower() for word in words}) == len(words) > 10
        assert all(word == word.strip() != "" for word in words)


def test_cultures_share_no_family() -> None:
    """But for those that share all names."""
    apart = {culture.family: culture for culture in CULTURES}
    families = [name.lower() for family in apart for name in family]
    assert len(families) == len(set(families))
