"""What an invented library has: authors, books and their copies, a statement for each hundred thousand rows.

A few authors wrote much, a few books are sought by everybody; popularity is a book's rank, which sets how often it is rated, how
many copies there are and how often they are lent.
"""

import datetime
from collections.abc import Iterator

from service.tables.sample.draws import array, draw, pick, skewed, spans
from service.tables.sample.words import BRANCHES, CULTURES

BOOKS_PER_AUTHOR = 6
COPIES_PER_BOOK = 3
STRIDE = 7_368_787  # a prime above every size of a sample: counting by it meets each book once
SCATTER = 387_420_489  # odd and no multiple of five: counting by it meets each nine-digit number once
NINE_DIGITS = 10**9
NEWEST_BIRTH = 1995
CULTURE, LANGUAGE, TRANSLATED, AUTHOR, FORM, YEAR, ERA, RATED, BOUND, PAGES, ISBN = range(1, 12)
FIRST, SECOND, THIRD, OF_BOOK, SOUGHT, BRANCH, STATE, CLASS, DECIMAL, CUTTER = range(12, 22)
TITLE_WORDS = (FIRST, SECOND, THIRD)


def authors(books: int, _until: datetime.date) -> Iterator[str]:
    """An author for each six books; namesakes are told apart by their years of birth, as catalogues do."""
    families, rest = "cardinality(family)", "id / cardinality(family)"
    family, given = f"family[1 + id % {families}]", f"given[1 + ({rest}) % cardinality(given)]"
    namesake = f"{rest} / cardinality(given)"
    for span in spans(_authors(books)):
        yield f"""
            INSERT INTO authors (id, name)
            SELECT id, {person(given, family)}
                       || CASE {namesake} WHEN 0 THEN '' ELSE ' (' || ({NEWEST_BIRTH} - {namesake}) || ')' END
            FROM {span} JOIN {cultures()} ON number = {culture("id")}"""


def books(count: int, until: datetime.date) -> Iterator[str]:
    """Each author has one book at least; the rest is shared out so that a few wrote much."""
    author = f"""CASE id % {BOOKS_PER_AUTHOR} WHEN 0 THEN id / {BOOKS_PER_AUTHOR}
                 ELSE 1 + {skewed("id", AUTHOR, _authors(count), 3)} END"""
    for span in spans(count):
        yield f"""
            INSERT INTO books
                (id, isbn13, author_id, title, language, published_year, ratings_count, attributes, source, source_key)
            SELECT id, CASE WHEN {draw("id", ISBN)} >= 0.07 THEN {_isbn13("id")} END, author_id, {_title("id")},
                   CASE WHEN {draw("id", LANGUAGE)} >= 0.05 THEN language END, {_year("id", until.year)},
                   {_ratings("id", count)}, {_attributes("id")}, 'sample', id::text
            FROM (SELECT id, {author} AS author_id FROM {span}) AS book
            JOIN {cultures()}
              ON number = CASE WHEN {draw("id", TRANSLATED)} < 0.12 THEN 0 ELSE {culture("author_id")} END"""


def copies(books: int, _until: datetime.date) -> Iterator[str]:
    """Three for a book on average: one for each, the others for those that are sought."""
    more = f"{skewed('id', OF_BOOK, books, 1.5)} * {STRIDE} % {books} + 1"
    branch = f"({array(BRANCHES)})[1 + {skewed('id', BRANCH, len(BRANCHES), 1.6)}]"
    for span in spans(books * COPIES_PER_BOOK):
        yield f"""
            INSERT INTO copies (id, book_id, barcode, branch, shelfmark, status)
            SELECT id, book_id, 'SM' || lpad(id::text, 9, '0'), {branch}, {_shelfmark("book_id")}, {_status(books)}
            FROM (SELECT id, CASE WHEN id <= {books} THEN id ELSE {more} END AS book_id FROM {span}) AS copy"""


def popularity(book: str, books: int) -> str:
    """1 for the most sought book, nearly 0 for the least."""
    return f"(1 - {_rank(book, books)}::float8 / {books})"


def demand(book: str, books: int) -> str:
    """How many times as often the book is sought as the least sought one."""
    return f"({books}::float8 / (1 + {_rank(book, books)}))"


def sought(book: str, books: int) -> str:
    """Whether members wait for the book: then none of its copies is free."""
    return f"({draw(book, SOUGHT)} < 0.25 * power({popularity(book, books)}, 12))"


def person(given: str, family: str) -> str:
    """The two names in the order of their culture."""
    return f"CASE WHEN family_first THEN {family} || ' ' || {given} ELSE {given} || ' ' || {family} END"


def cultures() -> str:
    """A source of all cultures, by number."""
    rows = ", ".join(
        f"({number}, '{one.language}', {array(one.given)}, {array(one.family)}, {array(one.words)}, '{one.comma}', '{one.last}', "
        f"{one.family_first})"
        for number, one in enumerate(CULTURES)
    )
    return f"(VALUES {rows}) AS culture (number, language, given, family, words, comma, last, family_first)"


def culture(key: str, salt: int = CULTURE) -> str:
    """The number of a person's culture, by the shares."""
    bounds = [sum(one.share for one in CULTURES[:at]) / 100 for at in range(1, len(CULTURES))]
    return f"width_bucket({draw(key, salt)}, ARRAY{bounds}::float8[])"


def _authors(books: int) -> int:
    return max(1, books // BOOKS_PER_AUTHOR)


def _rank(book: str, books: int) -> str:
    """0 for the most sought book; the reverse of counting by the stride."""
    back = pow(STRIDE, -1, books) if books > 1 else 0
    return f"(({book} - 1) * {back} % {books})"


def _title(book: str) -> str:
    """One word, or two or three different ones."""
    first, step, leap = (f"{pick(book, salt, f'(cardinality(words) - {less})')}" for less, salt in enumerate(TITLE_WORDS))
    second = f"{first} + 1 + {step}"
    third = f"{first} + 1 + ({step} + 1 + {leap}) % (cardinality(words) - 1)"
    one, two, three = (f"words[1 + ({at}) % cardinality(words)]" for at in (first, second, third))
    return f"""{one} || CASE width_bucket({draw(book, FORM)}, ARRAY[0.05, 0.3, 0.5]::float8[])
        WHEN 0 THEN '' WHEN 1 THEN last || {two} WHEN 2 THEN ': ' || {two} ELSE comma || {two} || last || {three} END"""


def _isbn13(book: str) -> str:
    """978, nine digits, and the check digit of ISO 2108: weights 1 and 3 in turn; those of 978 come to 38."""
    nine = f"({book} * {SCATTER} % {NINE_DIGITS})"
    weighed = " + ".join(f"{nine} / {10**place} % 10 * {1 if place % 2 else 3}" for place in range(9))
    return f"'978' || lpad({nine}::text, 9, '0') || ((10 - (38 + {weighed}) % 10) % 10)"


def _year(book: str, newest: int) -> str:
    """Mostly of late; some are older than our era, some unknown."""
    lately = f"{newest} - floor(-25 * ln(1 - {draw(book, YEAR)}))::int"
    return f"""CASE width_bucket({draw(book, ERA)}, ARRAY[0.02, 0.025]::float8[])
        WHEN 0 THEN NULL WHEN 1 THEN (-1 - {pick(book, YEAR, 800)})::int ELSE {lately} END"""


def _ratings(book: str, books: int) -> str:
    return f"floor(40 * power({demand(book, books)}, 0.9) * {draw(book, RATED)})::int"


def _attributes(book: str) -> str:
    bound = array(("hardback", "paperback", "paperback", "paperback", "large print", "audio"))
    return f"jsonb_build_object('format', ({bound})[1 + {pick(book, BOUND, 6)}], 'pages', 48 + {skewed(book, PAGES, 900, 1.8)})"


def _shelfmark(book: str) -> str:
    """A Dewey number and three letters: the same for all copies of a book."""
    letters = " || ".join(f"chr(65 + ({pick(book, CUTTER, 26**3)} / {26**place} % 26)::int)" for place in range(3))
    return f"lpad({pick(book, CLASS, 1000)}::text, 3, '0') || '.' || {pick(book, DECIMAL, 100)} || ' ' || {letters}"


def _status(books: int) -> str:
    """A sought book has no free copy, and one at least that comes back one day."""
    lent = f"0.07 + 0.15 * power({popularity('book_id', books)}, 4)"
    chance = draw("id", STATE)
    return f"""CASE
        WHEN {sought("book_id", books)} THEN CASE
            WHEN id <= {books} OR {chance} >= 0.13 THEN 'lent' WHEN {chance} < 0.1 THEN 'set_aside' ELSE 'withdrawn' END
        WHEN {chance} < 0.01 THEN 'set_aside' WHEN {chance} < 0.03 THEN 'withdrawn' WHEN {chance} < {lent} THEN 'lent'
        ELSE 'available' END"""
