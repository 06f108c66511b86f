"""The items of the version that isn't released yet."""

from pathlib import Path

from service.cli.changelog import unreleased
from tests.fixtures.processes import REPOSITORY


def test_items_of_the_unreleased_version_on_one_line_each(tmp_path: Path) -> None:
    file = tmp_path / "CHANGELOG.md"
    file.write_text(
        "# Log\n\n- not this\n\n## [Unreleased]\n\nWords.\n\n- one\n  goes on\n* two\n\n### Part\n\n- three\n\n## 1.0\n\n- old\n"
    )
    assert unreleased(file) == ["one goes on", "two ### Part", "three"]


def test_none(tmp_path: Path) -> None:
    assert unreleased(tmp_path / "CHANGELOG.md") == []
    (tmp_path / "CHANGELOG.md").write_text("")
    assert unreleased(tmp_path / "CHANGELOG.md") == []


def test_our_own() -> None:
    assert unreleased(REPOSITORY / "CHANGELOG.md")
