"""The invented catalogue: the same each time, and sound."""

import csv
import io

from service.tables.isbn import sound_isbn13
from service.tables.sample.catalogue import HEADERS, books, write


def test_the_same_number_gives_the_same_books() -> None:
    assert list(books(50)) == list(books(50))
    assert list(books(50, seed=2)) != list(books(50))


def test_a_larger_sample_holds_other_authors_but_as_many_columns() -> None:
    assert {len(row) for row in books(500)} == {len(HEADERS)}


def test_every_isbn_is_sound_and_stands_once() -> None:
    rows = [dict(zip(HEADERS, row, strict=True)) for row in books(2000)]
    isbns = [row["isbn13"] for row in rows if row["isbn13"]]
    assert all(sound_isbn13(isbn) == isbn for isbn in isbns)
    assert len(isbns) == len(set(isbns)) > len(rows) // 2


def test_it_is_written_as_csv() -> None:
    text = io.StringIO()
    write(text, 10)
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert len(rows) == 10
    assert all(row["title"] and row["authors"] for row in rows)
