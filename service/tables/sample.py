"""Invented books, as many as wanted and the same each time, under the headers of a customary catalogue file.

Skewed as catalogues are: a few authors wrote much, most books are in one language, few are rated often; some lack a year or an
ISBN, some are older than our era. Titles stand in several alphabets. Every ISBN is sound and stands once.
"""

# ruff: noqa: RUF001, SIM905 - words of several alphabets read best as running text

import csv
import random
from collections.abc import Iterator
from typing import TextIO

from service.tables.isbn import check_ten, thirteen_digits

HEADERS = (
    "book_id,goodreads_book_id,best_book_id,work_id,books_count,isbn,isbn13,authors,original_publication_year,original_title,title,"
    "language_code,average_rating,ratings_count,work_ratings_count,work_text_reviews_count,ratings_1,ratings_2,ratings_3,ratings_4,"
    "ratings_5,image_url,small_image_url"
).split(",")
WORDS = {
    "eng": "The Quiet House Winter River Salt Garden Letters Stone Orchard Night Sea Road Glass Hour Bird Memory Light".split(),
    "en-US": "American Summer Highway Blue Desert Motel Radio Baseball Hunger Kitchen Thunder Border County Train".split(),
    "fre": "Le Jardin Été La Forêt Lumière Cœur Nuit Château Rivière L'Étranger Hôtel Neige Voyage".split(),
    "ger": "Der Schöne Wald Über Die Straße Große Mädchen Licht Fräulein Sturm Jahrhundert Glück Tür".split(),
    "rus": "Зимний Дом Река Тихий Сад Письма Ночь Море Дорога Память Птица Степь".split(),
    "gre": "Το Σπίτι Του Χειμώνα Ήλιος Θάλασσα Νύχτα Δρόμος Φως Κήπος Άνεμος".split(),
    "jpn": "冬 の 家 静かな 川 手紙 夜 海 道 記憶 光 鳥".split(),
    "ara": "البيت الشتاء النهر الليل البحر الطريق الذاكرة الضوء رسائل حديقة".split(),
}
LANGUAGES = ("eng", "en-US", "fre", "ger", "rus", "gre", "jpn", "ara", "")
SHARES = (62, 18, 4, 4, 3, 1, 2, 1, 5)
GIVEN = "Ada Boris Chidi Dana Émile Farid Greta Hugo Ines Jun Kaya Lars Mina Noor Otto Petra Quim Rosa Søren Tove".split()
FAMILY = "Abbott Baranov Çelik Dvořák Eze Fischer García Haddad Ito Jensen Kowalski Lindqvist Müller Nakamura Okafor Petrov".split()
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
    title = _title(dice, WORDS[language or "eng"], number)
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


def _title(dice: random.Random, words: list[str], number: int) -> str:
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


SAMPLES = {"books": write}
