"""The rules of lending, as settings."""

import pytest

from service import schema
from service.errors import SetupError
from service.settings import section
from service.tables.rules import LendingRules


def test_the_rules_are_found_among_the_tables() -> None:
    assert schema.sections() == [LendingRules]


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFMARK_LENDING_LOANS_MOST", "3")
    assert section(LendingRules, _env_file=None) == LendingRules.model_construct(loans_most=3)


def test_what_makes_no_sense_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFMARK_LENDING_LOAN_DAYS", "0")
    with pytest.raises(SetupError, match="SHELFMARK_LENDING_LOAN_DAYS: "):
        section(LendingRules)


def test_defaults() -> None:
    found = LendingRules.model_construct()
    assert (found.loans_most, found.loan_days, found.renewals_most, found.hold_days) == (10, 28, 2, 7)
