"""Keys, predicates, and what makes an index a total order."""

from dataclasses import replace

import pytest

from service.contract.path import Contract, Key, Path, Term
from service.contract.question import Sort
from tests.contract.library import id_down, id_up

a, maybe = Key("a"), Key("a", nullable=True)
present = Term("a", negated=True)


def test_a_key_met_backward_and_backward_again_is_itself() -> None:
    key = Key("a", descending=True, nulls_first=False, nullable=True, text=True)
    assert key.reversed() == Key("a", descending=False, nulls_first=True, nullable=True, text=True)
    assert key.reversed().reversed() == key


GIVES = {
    "another key": (Key("b"), Sort("a"), False),
    "upward": (a, Sort("a"), True),
    "downward": (a, Sort("a", descending=True), False),
    "never null, whatever it says of NULLs": (replace(a, nulls_first=True), Sort("a"), True),
    "NULLs first, upward": (replace(maybe, nulls_first=True), Sort("a"), True),
    "NULLs last, upward": (maybe, Sort("a"), False),
    "NULLs last, downward": (replace(maybe, descending=True), Sort("a", descending=True), True),
    "NULLs first, downward": (replace(maybe, descending=True, nulls_first=True), Sort("a", descending=True), False),
}


@pytest.mark.parametrize(("key", "sort", "expected"), GIVES.values(), ids=GIVES.keys())
def test_a_key_gives_an_order_if_it_goes_its_way_and_has_nulls_in_their_place(key: Key, sort: Sort, expected: bool) -> None:
    assert key.gives(sort) is expected


@pytest.mark.parametrize(
    ("path", "strict"),
    [
        (Path("ix", (a,)), False),
        (Path("uq", (a,), unique=True), True),
        (Path("uq", (maybe,), unique=True), False),
        (Path("uq", (a, Key("b", nullable=True)), unique=True), False),
        (Path("uq", (maybe,), unique=True, nulls_equal=True), True),
        (Path("uq", (maybe,), unique=True, predicate=(present,)), True),
        (Path("uq", (maybe,), unique=True, predicate=(Term("b", negated=True),)), False),
        (Path("ix", (a,), nulls_equal=True), False),
    ],
)
def test_keys_tell_rows_apart_if_unique_and_never_null(path: Path, strict: bool) -> None:
    assert path.strict is strict
    assert Contract("things", ("id",), ()).total(path) is strict


def test_an_index_that_ends_in_the_primary_key_is_a_total_order() -> None:
    contract = Contract("things", ("id", "no"), ())
    assert contract.total(Path("ix", (maybe, id_down, Key("no"))))
    assert contract.total(Path("ix", (id_up, Key("no"))))
    assert not contract.total(Path("ix", (a, id_up)))
    assert not contract.total(Path("ix", (a, Key("no"))))
    assert not contract.total(Path("ix", (a,)))


def test_a_predicate_fixes_values_and_says_where_there_are_some() -> None:
    path = Path("ix", (a,), predicate=(Term("s", "waiting"), Term("n"), present, Term("x", 1, negated=True)))
    assert path.fixed == {"s", "n"}
    assert path.present == {"a"}
    assert path.names == {"a"}
