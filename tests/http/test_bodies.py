"""What a client sent is held against the columns, each wrong member told by its name."""

import pytest

from service.errors import InvalidBody
from service.http.bodies import rows_of, values_of
from service.tables.books import Book, BookWrite


def test_only_what_was_sent_is_written() -> None:
    assert values_of(Book, BookWrite(title="It", author_id=7)) == {"title": "It", "author_id": 7}


def test_every_member_that_doesnt_fit_is_told() -> None:
    with pytest.raises(InvalidBody) as refused:
        values_of(Book, BookWrite(title="\0", author_id=2**63))
    assert [error["member"] for error in refused.value.extra["errors"]] == ["title", "author_id"]


def test_every_row_that_doesnt_fit_is_told() -> None:
    sound, spoilt = BookWrite(title="It", author_id=7), BookWrite(title="\0", author_id=7)
    with pytest.raises(InvalidBody) as refused:
        rows_of(Book, [spoilt, sound, spoilt])
    assert [error["member"] for error in refused.value.extra["errors"]] == ["data.0.title", "data.2.title"]
