"""Headers find their fields, values their columns, and the rest is kept."""

import json
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from service.jobs.reading import Record
from service.jobs.validating import Refused, Validator
from tests.jobs.depot import things


def row(headers: Sequence[str], values: Sequence[Any], fault: str | None = None) -> tuple[Any, ...]:
    """Key, owner, code, serial, label, amount, extras of a record."""
    made = Validator(things).row(Record(7, [], tuple(headers), values, fault))
    assert made[0] == 7
    return (*made[1:-1], json.loads(made[-1]))


def test_headers_are_found_whatever_their_case_and_spaces() -> None:
    assert row([" NR ", "Code", "LABEL"], ["1", "A", "x"]) == ("1", None, "A", None, "x", 1, {})


def test_the_first_alias_that_is_not_blank_counts_and_the_others_are_kept() -> None:
    assert row(["nr", "name", "label"], ["1", "by name", "by label"])[4:] == ("by label", 1, {"name": "by name"})
    assert row(["nr", "name", "label"], ["1", "by name", " "])[4:] == ("by name", 1, {})
    assert row(["nr", "label", "Label"], ["1", "first", "second"])[4:] == ("first", 1, {"Label": "second"})


def test_unmapped_columns_are_kept_unless_blank() -> None:
    headers = ["nr", "label", "Shelf No", "", "x", "x", "none"]
    assert row(headers, ["1", "x", "3", "4", "5", "6", " "])[-1] == {"Shelf No": "3", "column_4": "4", "x": "5", "x_2": "6"}


def test_headers_that_stand_twice_hide_nothing() -> None:
    assert row(["nr", "label", "x", "x_2", "x", "x"], ["1", "x", "3", "4", "5", "6"])[-1] == {
        "x": "3", "x_2": "4", "x_3": "5", "x_4": "6",
    }  # fmt: skip
    many = [*["x"] * 900, *["x_2"] * 900]
    assert len(row(["nr", "label", *many], ["1", "x", *map(str, range(1800))])[-1]) == 1800


def test_json_values_keep_their_types() -> None:
    headers = ["nr", "label", "amount", "list", "zero", "no", "null", "blank"]
    made = row(headers, [12, "x", 4.0, [1, None], 0, False, None, ""])
    assert made == ("12", None, None, None, "x", 4, {"list": [1, None], "zero": 0, "no": False})


def test_the_key_is_a_field_or_a_hash_that_knows_no_order() -> None:
    assert row(["nr", "code", "label"], ["", "A", "x"])[0] == "A"
    hashed = row(["label", "colour"], ["x", "red"])[0]
    assert hashed == row(["colour", "label"], ["red", "x"])[0]
    assert hashed != row(["colour", "label"], ["red", "y"])[0]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["1", "", "1"], "label or name is blank or missing"),
        (["1", "x", "many"], "amount many: input should be a valid integer"),
        (["1", "x", str(2**31)], "amount 2147483648: it must lie between -2,147,483,648 and 2,147,483,647"),
        (["1", "x", "9" * 5000], "amount 9999"),
        (["1", {"a": 1}, 1], "label {'a': 1}: input should be a valid string"),
        (["1", "", "many"], "label or name is blank or missing; amount many"),
    ],
)
def test_reasons_are_sentences(values: list[Any], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        row(["nr", "label", "amount"], values)
    assert str(caught.value).startswith(reason)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("headers", "depth"), [(["nr", "extra"], 300), (["extra"], 300), (["nr", "label"], 1000)])
def test_what_is_nested_too_deeply_rejects_its_row(headers: list[str], depth: int) -> None:
    """JSON is read to a greater depth than it is written, or shown in a reason; without a number, a hash of the row is its key."""
    nested = orjson.loads("[" * depth + "]" * depth)
    with pytest.raises(Refused, match=r"^it is nested too deeply$"):
        row(["name", *headers], ["x" if headers[-1] == "extra" else None, *["1"] * (len(headers) - 1), nested])


def test_a_fault_is_the_reason() -> None:
    with pytest.raises(Refused, match="no object"):
        row((), (), "no object")
