"""Invented books, as many as wanted and the same each time, under the headers of a customary catalogue file.

Skewed as catalogues are: a few authors wrote much, most books are in one language, few are rated often; some lack a year or an
ISBN, some are older than our era. Titles stand in several alphabets. Every ISBN is sound and stands once.
"""

import csv
import random
from collections.abc import Iterator
from typing import TextIO

from service.tables.isbn import check_ten, thirteen_digits
from service.tables.sample.words import CULTURES

HEADERS = (  # noqa: SIM905 - a header line reads best as one
    "book_id,goodreads_book_id,best_book_id,work_id,books_count,isbn,isbn13,authors,original_publication_year,original_title,title,"
    "language_code,average_rating,ratings_count,work_ratings_count,work_text_reviews_count,ratings_1,ratings_2,ratings_3,ratings_4,"
    "ratings_5,image_url,small_image_url"
).split(",")
WORDS = {culture.language: culture.words for culture in CULTURES}
LANGUAGES = (*WORDS, "")
SHARES = (*(culture.share for culture in CULTURES), 5)
GIVEN, FAMILY = CULTURES[0].given, CULTURES[0].family
SCATTER = 387_420_489  # odd and no multiple of five: a walk through all nine-digit numbers that meets each once
NINE_DIGITS = 10**9


def books(count: int, seed: int = 1) -> Iterator[list[str]]:
    """So many rows, in the order of `HEADERS`."""
    dice = random.Random(seed)  # noqa: S311 - nothing here is secret
    writers = max(20, count // 6)
    for number in range(1, count + 1):
        yield _book(number, dice, writers)


def write(target: TextIO, count: int, seed: int = 1) -> None:
    """Write the headers and so many rows as CSV."""
    lines = csv.writer(target, lineterminator="\n")
    lines.writerow(HEADERS)
    lines.writerows(books(count, seed))


def _book(number: int, dice: random.Random, writers: int) -> list[str]:
    language = dice.choices(LANGUAGES, SHARES)[0]
    title = _title(dice, WORDS[language or LANGUAGES[0]], number)
    nine = f"{number * SCATTER % NINE_DIGITS:09d}"
    isbn, isbn13 = (nine + check_ten(nine), thirteen_digits(nine)) if dice.random() > 0.07 else ("", "")  # noqa: PLR2004
    stars = [str(int(dice.paretovariate(0.8)) % 1_000_000) for _ in range(5)]
    ratings = sum(map(int, stars))
    image = f"https://covers.example/{nine}m/{number}.jpg"
    work = str(number * 7 + 11)
    return [
        *(str(number), str(number * 3), str(number * 3), work, str(dice.randint(1, 90)), isbn, isbn13),
        *(_authors(dice, writers), _year(dice), title if dice.random() < 0.9 else "", title, language),  # noqa: PLR2004
        *(f"{dice.uniform(2.5, 4.9):.2f}", str(ratings), str(ratings + 17), str(ratings // 40), *stars, image, image),
    ]


def _title(dice: random.Random, words: tuple[str, ...], number: int) -> str:
    title = " ".join(dice.choices(words, k=dice.randint(2, 5)))
    return f'{title}, "{number % 9973}"' if dice.random() < 0.05 else f"{title} {number % 9973}"  # noqa: PLR2004


def _authors(dice: random.Random, writers: int) -> str:
    return ", ".join(_author(int(writers * dice.random() ** 3)) for _ in range(dice.choices((1, 2, 3), (75, 20, 5))[0]))


def _author(number: int) -> str:
    family, rest = FAMILY[number % len(FAMILY)], number // len(FAMILY)
    return f"{GIVEN[rest % len(GIVEN)]} {family} {rest // len(GIVEN)}".removesuffix(" 0")


def _year(dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.02:  # noqa: PLR2004
        return ""
    if kind < 0.025:  # noqa: PLR2004
        return f"{-dice.randint(1, 800)}.0"
    return f"{2020 - int(dice.expovariate(1 / 25)) % 1500}.0"
