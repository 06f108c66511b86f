"""Databases that can't hold or fold every language are refused."""

import pytest

from service.db.encoding import refuse_encoding
from service.errors import SetupError


def test_utf8_that_folds_is_accepted() -> None:
    refuse_encoding("UTF8", "é")


@pytest.mark.parametrize(("encoding", "folded", "said"), [("SQL_ASCII", "a", "SQL_ASCII"), ("UTF8", "É", "ASCII letters only")])
def test_others_are_refused_with_a_remedy(encoding: str, folded: str, said: str) -> None:
    with pytest.raises(SetupError, match=said) as refused:
        refuse_encoding(encoding, folded)
    assert "CREATE DATABASE" in str(refused.value)
