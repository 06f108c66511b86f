"""Authors, books and copies: sound, skewed, and many-tongued."""

from collections import Counter

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.tables.isbn import sound_isbn13
from service.tables.sample.words import CULTURES
from tests.tables.sample.conftest import BOOKS


async def rows(library: AsyncConnection, query: str) -> list[tuple[object, ...]]:
    """What a query finds."""
    return [tuple(row) for row in await library.execute(text(query))]


async def test_sizes(library: AsyncConnection) -> None:
    """Three copies for a book, and none without one; no author without a book."""
    assert await rows(library, "SELECT count(*), count(DISTINCT author_id) FROM books") == [(BOOKS, BOOKS // 6)]
    assert await rows(library, "SELECT count(*), count(DISTINCT book_id) FROM copies") == [(3 * BOOKS, BOOKS)]
    assert await rows(library, "SELECT count(*) FROM authors") == [(BOOKS // 6,)]


async def test_isbns_are_sound(library: AsyncConnection) -> None:
    """Most books have one."""
    isbns = [str(isbn) for (isbn,) in await rows(library, "SELECT isbn13 FROM books WHERE isbn13 IS NOT NULL")]
    assert [isbn for isbn in isbns if sound_isbn13(isbn) != isbn] == []
    assert 0.9 * BOOKS < len(isbns) < 0.96 * BOOKS


async def test_few_wrote_much(library: AsyncConnection) -> None:
    """A hundredth of the authors hold more than a tenth of the books, and the most sought books have the most copies."""
    written = Counter(author for (author,) in await rows(library, "SELECT author_id FROM books"))
    assert sum(count for _, count in written.most_common(BOOKS // 600)) > BOOKS / 10
    stocked = Counter(book for (book,) in await rows(library, "SELECT book_id FROM copies"))
    assert stocked.most_common(1)[0][1] > 15
    sought = [book for book, _ in stocked.most_common(BOOKS // 100)]
    lent = Counter(book for (book,) in await rows(library, "SELECT book_id FROM loans JOIN copies ON copies.id = copy_id"))
    assert sum(lent[book] for book in sought) > lent.total() / 20


async def test_languages(library: AsyncConnection) -> None:
    """All of them, most books in one, some in none that is known; each title is in the letters of its language."""
    found = Counter(language for (language,) in await rows(library, "SELECT language FROM books"))
    assert set(found) == {culture.language for culture in CULTURES} | {None}
    assert found.most_common(1)[0][0] == "eng"
    titles = [str(title) for (title,) in await rows(library, "SELECT title FROM books WHERE language = 'rus'")]
    assert all("\u0430" <= title[-1] <= "\u0451" for title in titles)
    assert len(set(titles)) > len(titles) / 2


async def test_years(library: AsyncConnection) -> None:
    """Some unknown, some before our era, none after the day on which it is seen."""
    [(unknown, ancient, newest)] = await rows(
        library,
        "SELECT count(*) FILTER (WHERE published_year IS NULL), count(*) FILTER (WHERE published_year < 0), max(published_year) "
        "FROM books",
    )
    assert unknown
    assert ancient
    assert newest == 2026
