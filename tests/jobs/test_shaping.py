"""Declared imports are found by the name of their table."""

from types import ModuleType

import pytest
from sqlalchemy import BigInteger, Column, Integer, SmallInteger, Text

from service.errors import SetupError
from service.jobs.shaping import Imports, limits
from tests.jobs import depot


def test_an_import_is_found_by_its_table() -> None:
    assert Imports.of([depot]).chosen("depot_things") is depot.things


def test_an_unknown_table_lists_those_that_exist() -> None:
    with pytest.raises(SetupError, match=r"no import into 'shelves'. Files can be imported into: depot_things."):
        Imports.of([depot]).chosen("shelves")
    with pytest.raises(SetupError, match="No table declares an import"):
        Imports.of([ModuleType("empty")]).chosen("shelves")


def test_headers_come_in_order_of_preference() -> None:
    assert depot.things.accepted()["label"] == ("label", "name")
    assert depot.things.accepted()["nr"] == ("nr",)
    assert depot.things.required() == ("label",)


def test_integers_have_the_width_of_their_column() -> None:
    found = [limits(Column("n", kind)) for kind in (SmallInteger(), Integer(), BigInteger(), Text())]
    assert found == [(-(2**15), 2**15 - 1), (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1), None]
