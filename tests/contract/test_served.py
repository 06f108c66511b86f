"""What is offered is served, and what is served is offered: every combination of small contracts is tried."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from service.contract.choose import Choice, choose, completed
from service.contract.path import Contract, Key, Path, Term
from service.contract.question import FOLDED, Bound, Question, Range, Sort, prefix_spelled, spelled
from service.contract.served import Served, parameters, ready, served, shortened
from tests.contract.library import books, holds, id_down, id_up, loans

VALUE = "v"
newest = Key("a", descending=True, nullable=True)
pk = Path("pk", (id_up,), unique=True)
by_default = (Sort("a", descending=True),)

SMALL = {
    "two keys": Contract("t", ("id",), (pk, Path("ix", (newest, id_down))), by_default, frozenset("a")),
    "mixed directions": Contract("t", ("id",), (pk, Path("ix", (newest, id_up))), by_default, frozenset("a")),
    "an equality first": Contract("t", ("id",), (pk, Path("ix", (Key("b"), newest, id_down))), by_default, frozenset("a")),
    "NULLs in the wrong place": Contract("t", ("id",), (pk, Path("ix", (Key("a", nullable=True), id_up))), (), frozenset("a")),
    "no total order": Contract("t", ("id",), (pk, Path("ix", (Key("b"), newest))), by_default, frozenset("a")),
    "unique": Contract("t", ("id",), (pk, Path("uq", (Key("a"), Key("b")), unique=True)), (Sort("a"),)),
    "unique, may be null": Contract("t", ("id",), (pk, Path("uq", (newest,), unique=True)), (Sort("a"),), frozenset("a")),
    "partial": Contract("t", ("id",), (pk, Path("ix", (Key("b"), id_up), predicate=(Term("a"),))), (Sort("b"),), frozenset("a")),
    "partial by a literal that is a key": Contract(
        "t", ("id",), (pk, Path("ix", (Key("a"), Key("b"), id_up), predicate=(Term("a", VALUE),))), (Sort("b"),)
    ),
    "partial and unique": Contract("t", ("id",), (pk, Path("uq", (Key("b"),), unique=True, predicate=(Term("a", VALUE),)))),
    "partial, with a value": Contract(
        "t", ("id",), (pk, Path("ix", (newest, id_up), predicate=(Term("a", negated=True),))), by_default, frozenset("a")
    ),
    "folded": Contract("t", ("id",), (pk, Path("uq", (Key("a" + FOLDED, text=True),), unique=True)), (Sort("a" + FOLDED),)),
    "a key of two columns": Contract(
        "t", ("id", "no"), (Path("pk", (id_up, Key("no")), unique=True), Path("ix", (newest, id_up, Key("no")))), by_default
    ),
}


def names_of(contract: Contract) -> list[str]:
    """Every name that an index of the contract knows."""
    found = {name for path in contract.paths for name in path.names}
    return sorted(found | {term.name for path in contract.paths for term in path.predicate})


def every_question(contract: Contract) -> Iterator[Question]:
    """Equalities with null or some values, a range, `__in`, each sort of up to three keys: everything that can be asked."""
    names = names_of(contract)
    sorts: list[tuple[Sort, ...] | None] = [None]
    for length in (1, 2, 3):
        for order in itertools.permutations(names, length):
            sorts += [tuple(map(Sort, order, flags)) for flags in itertools.product((False, True), repeat=length)]
    for cells in itertools.product(("free", VALUE, "w", None), repeat=len(names)):
        equals = {name: cell for name, cell in zip(names, cells, strict=True) if cell != "free"}
        for over, sort in itertools.product((None, *names), sorts):
            yield Question(equals, (some(over),) if over else (), sort=sort)
        yield from (Question(equals, among={name: (VALUE,)}) for name in names)


def some(name: str) -> Range:
    """A range that can be asked of a name: folded ones take a prefix only."""
    return Range(name, prefix=VALUE) if name.endswith(FOLDED) else Range(name, Bound(VALUE, inclusive=True))


def covered(contract: Contract, question: Question, choice: Choice, offer: Served) -> bool:
    """Whether a reader of the offer knows that the question is served."""
    if offer.path != choice.path.name or offer.kind != choice.kind or not filters_fit(question, offer):
        return False
    if question.ranges:
        (over,) = question.ranges
        needed = prefix_spelled(over.name) if over.prefix else f"{over.name}__gte="
        if needed not in offer.ranges:
            return False
    elif offer.ranged:
        return False
    if question.sort is None or choice.kind == "one":
        return offer.default or choice.kind != "list"
    orders = [completed(contract, replace(question, sort=parsed(text))) for text in offer.sorts]
    compared = len(choice.walked) if choice.path.strict else None  # a strictly unique path has no need of the primary key
    return completed(contract, question)[:compared] in [order[:compared] for order in orders]


def filters_fit(question: Question, offer: Served) -> bool:
    """Whether the question gives the offer's filters and no others."""
    texts = {spelled(name): "null" if value is None else value for name, value in question.equals.items()}
    texts |= {f"{name}__in=": "" for name in question.among}
    wanted = {text.partition("=")[0] + "=": text.partition("=")[2] for text in offer.filters}
    return texts.keys() == wanted.keys() and all(value in ("", texts[key]) for key, value in wanted.items())


def parsed(sort: str) -> tuple[Sort, ...]:
    """An order as `sort=` spells it."""
    return tuple(Sort(part.lstrip("-"), part.startswith("-")) for part in sort.split(","))


@pytest.mark.parametrize("contract", SMALL.values(), ids=SMALL.keys())
def test_what_is_served_is_offered(contract: Contract) -> None:
    offers, accepted = served(contract), 0
    for question in every_question(contract):
        choice = choose(contract, question)
        if choice and not (choice.kind == "list" and not choice.walked):  # all keys fixed: not listed
            accepted += 1
            assert any(covered(contract, question, choice, offer) for offer in offers), f"{question}: {choice}"
    assert accepted > 3


def asked_by(offer: Served) -> Iterator[Question]:
    """Each question that an offer names, read back from its parameters alone."""
    equals: dict[str, object] = {}
    among = {}
    for name, text in zip(offer.equals, offer.filters, strict=True):
        parameter, _, value = text.partition("=")
        if parameter.endswith("__in"):
            among[name] = (VALUE,)
        else:
            assert text.startswith(spelled(name))
            equals[name] = None if value == "null" else value or VALUE
    orders = [parsed(text) for text in offer.sorts] + ([None] if offer.default or offer.kind != "list" else [])
    free: list[tuple[Range, ...]] = [()] if not offer.ranged else []
    for order, over in itertools.product(orders, [*free, *((ranged(parameter),) for parameter in offer.ranges)]):
        yield Question(equals, over, among, order)


def ranged(parameter: str) -> Range:
    """A range that a parameter asks for."""
    name, _, operator = parameter.removesuffix("=").rpartition("__")
    if operator in {"startswith", "istartswith"}:
        return Range(name + FOLDED if operator == "istartswith" else name, prefix=VALUE)
    bound = Bound(VALUE, inclusive=operator.endswith("e"))
    return Range(name, lower=bound) if operator in {"gt", "gte"} else Range(name, upper=bound)


@pytest.mark.parametrize("contract", [*SMALL.values(), books, loans, holds], ids=[*SMALL.keys(), "books", "loans", "holds"])
def test_what_is_offered_is_served(contract: Contract) -> None:
    for offer in served(contract):
        path = next(path for path in contract.paths if path.name == offer.path)
        for question in asked_by(offer):
            choice = choose(replace(contract, paths=(path,)), question)
            assert choice, f"{offer}: {question}"
            assert choice.kind == offer.kind
            assert choose(contract, question)


def test_offers_read_like_urls() -> None:
    assert list(map(str, served(holds)[:8])) == [
        "id=",
        "id__in=",
        "slip=",
        "slip__in=",
        "book_id= & member_id= & status=waiting",
        "sort=expires_at or -expires_at & expires_at__gt|gte|lt|lte=",
        "expires_at= & sort=id or -id & [id__gt|gte|lt|lte=]",
        "status=waiting & sort=book_id,placed_at or -book_id,-placed_at & [book_id__gt|gte|lt|lte=]",
    ]


def test_lookups_come_first_and_paths_by_name() -> None:
    found = [(offer.kind != "list", offer.path) for offer in served(books)]
    lookups = [path for lookup, path in found if lookup]
    assert found == [(True, path) for path in sorted(lookups)] + [(False, path) for lookup, path in found if not lookup]
    assert [path for lookup, path in found if not lookup] == sorted(path for lookup, path in found if not lookup)


def test_the_order_of_declaration_does_not_matter() -> None:
    assert served(books) == served(replace(books, paths=books.paths[::-1]))


RANGES = {
    ("year", False): ("year__gt=", "year__gte=", "year__lt=", "year__lte="),
    ("isbn", True): ("isbn__gt=", "isbn__gte=", "isbn__lt=", "isbn__lte=", "isbn__startswith="),
    ("title" + FOLDED, True): ("title__istartswith=",),
}


@pytest.mark.parametrize(("key", "expected"), RANGES.items())
def test_the_range_parameters_of_a_key(key: tuple[str, bool], expected: tuple[str, ...]) -> None:
    assert parameters(*key) == expected


SHORT = {
    "-a,-id": "-a", "a,id": "a", "a,-id": "a,-id", "-a,id": "-a,id", "id": "id", "-id": "-id", "a": "a", "a,b": "a,b",
}  # fmt: skip


@pytest.mark.parametrize(("whole", "short"), SHORT.items())
def test_an_order_is_spelled_as_short_as_it_may_be(whole: str, short: str) -> None:
    assert shortened(SMALL["two keys"], parsed(whole)) == parsed(short)
    assert completed(SMALL["two keys"], Question(sort=parsed(short)))[: len(parsed(whole))] == parsed(whole)


@pytest.mark.parametrize("contract", [*SMALL.values(), books, loans, holds])
def test_what_is_offered_is_ready_while_a_path_serves_it(contract: Contract) -> None:
    for one in served(contract):
        assert ready(contract, contract, one)
        assert ready(replace(contract), contract, one)
        paths = tuple(path for path in contract.paths if path.name != one.path)
        searches = tuple(path for path in contract.searches if path.name != one.path)
        gone = replace(contract, paths=paths, searches=searches)
        offered = {(other.kind, other.filters, other.sorts, other.ranges) for other in served(gone)}
        assert ready(gone, contract, one) == ((one.kind, one.filters, one.sorts, one.ranges) in offered), str(one)
        twins = [replace(path, name="another") for path in contract.paths if path.name == one.path]
        searching = [replace(path, name="another") for path in contract.searches if path.name == one.path]
        assert ready(replace(gone, paths=(*paths, *twins), searches=(*searches, *searching)), contract, one)


def test_what_another_path_serves_in_part_is_not_ready() -> None:
    wide = Path("wide", (Key("a"), Key("b"), id_up))
    contract = Contract("t", ("id",), (pk, wide, Path("narrow", (Key("a"), id_up))), ())
    gone = replace(contract, paths=(pk, contract.paths[2]))
    assert {str(one): ready(gone, contract, one) for one in served(contract) if one.path == "wide"} == {
        "sort=a,b or -a,-b & [a__gt|gte|lt|lte=]": False,
        "a= & sort=b or -b & [b__gt|gte|lt|lte=]": False,
        "a= & b= & [sort=id or -id] & [id__gt|gte|lt|lte=]": False,
    }
