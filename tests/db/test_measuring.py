"""What questions took, by path."""

from service.db import Database
from service.db.bound import Bound
from service.db.measuring import SECONDS, SIZES, Measures
from service.tables.books import Book, Books
from tests.factories.books import BookFactory


def counted(database: Database) -> dict[tuple[str, ...], float]:
    """How many questions rode each path."""
    return {labels: sum(numbers[:-1]) for name, labels, numbers in database.measures.told() if name == SECONDS.name}


async def test_each_question_counts_for_the_path_that_it_rides(database: Bound) -> None:
    book = await BookFactory.create()
    books = Books(database)
    await books.page(Book.by_author, author_id=book.author_id)
    await books.page(Book.by_author, author_id=0)
    await books.one(Book.unique_isbn, isbn13="9780306406157")
    assert counted(database) == {("books", "ix_books_by_author"): 2, ("books", "uq_books_isbn13"): 1}
    (_, _, numbers), *_ = database.measures.told()
    assert 0 < numbers[-1] < 10, "seconds"


def test_point_reads_that_went_together() -> None:
    measures = Measures()
    assert list(measures.told()) == [], "nothing was ever asked together"
    measures.batches.add(1)
    measures.batches.add(40)
    assert list(measures.told()) == [(SIZES.name, (), [1, 0, 0, 0, 0, 0, 1, 0, 41])]


def test_numbers_are_kept_by_whoever_counts() -> None:
    measures = Measures()
    kept = measures.of("books", "pk_books")
    assert measures.of("books", "pk_books") is kept
    kept.add(0.001, times=3)
    ((_, labels, numbers),) = measures.told()
    assert labels == ("books", "pk_books")
    assert sum(numbers[:-1]) == 3
