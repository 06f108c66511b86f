"""The contract as JSON, how it differs from one that was committed, and what has to be said before a question goes."""

import json
import shutil
from pathlib import Path

import pytest

from service.cli import contracts
from service.cli.contracts import questions
from service.errors import SetupError, ShelfmarkError
from tests.fixtures.processes import SHELFMARK, run

TABLE = next(iter(questions()))
GONE = "colour= & [sort=id or -id]"
TOLD = f"# Changelog\n\n## 0.2.0, unreleased\n\n- `{TABLE}` no longer answers\n  `{GONE}`.\n\n## 0.1.0\n\n- Begun.\n"


def test_printed(scratch: Path) -> None:
    """It needs no settings and no database."""
    printed = run(scratch, SHELFMARK, "contract")
    assert (printed.code, printed.err) == (0, "")
    assert json.loads(printed.out) == questions()
    assert "isbn13=" in json.loads(printed.out)["books"]


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A contract that has one question more than is served, and lacks none."""
    file = tmp_path / "contract.json"
    now = {table: list(found) for table, found in questions().items()}
    now[TABLE].append(GONE)
    file.write_text(json.dumps(now))
    return file


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that were printed for people."""
    out, err = capfd.readouterr()
    assert out == ""
    return err.splitlines()


def test_unchanged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is said."""
    (tmp_path / "contract.json").write_text(json.dumps(questions()))
    contracts.run(tmp_path / "contract.json")
    assert said(capfd) == []


def test_a_question_that_is_taken_away(committed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is told, with the line that the changelog needs."""
    with pytest.raises(SystemExit, match="1"):
        contracts.run(committed)
    assert said(capfd) == [
        TABLE,
        f"  - taken away: {GONE}  breaking",
        "1 question taken away: that breaks clients. If it is meant, write under the unreleased heading of CHANGELOG.md:",
        f"- `{TABLE}` no longer answers `{GONE}`.",
    ]


def test_one_that_the_changelog_takes_away(committed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    committed.with_name("CHANGELOG.md").write_text(TOLD)
    contracts.run(committed)
    assert said(capfd) == [
        TABLE,
        f"  - taken away: {GONE}",
        "CHANGELOG.md says so. `make contract` takes it out of contract.json.",
    ]


@pytest.mark.parametrize(
    "changelog",
    [
        TOLD.replace(f"`{TABLE}`", "`others`"),
        TOLD.replace(GONE, "colour="),
        TOLD.replace(f"`{GONE}`", GONE),
        TOLD.replace(", unreleased", ", 2026-01-01"),
        TOLD.replace("## 0.2.0, unreleased", "## 0.3.0, unreleased\n\n- Nothing.\n\n## 0.2.0"),
        "",
    ],
)
def test_one_that_the_changelog_does_not_name(committed: Path, changelog: str) -> None:
    """Another table, another question, without quotes, in a version that is out."""
    committed.with_name("CHANGELOG.md").write_text(changelog)
    with pytest.raises(SystemExit, match="1"):
        contracts.run(committed)


def test_a_question_that_is_added(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    now = {table: list(found) for table, found in questions().items()}
    added = now[TABLE].pop()
    (tmp_path / "contract.json").write_text(json.dumps(now))
    with pytest.raises(SystemExit, match="1"):
        contracts.run(tmp_path / "contract.json")
    assert said(capfd) == [
        TABLE,
        f"  + added: {added}",
        "1 question added or widened: `make contract` writes contract.json anew.",
    ]


def test_a_whole_table_that_goes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line for all its questions."""
    file = tmp_path / "contract.json"
    file.write_text(json.dumps({**questions(), "zebras": ["id=", "stripes="]}))
    with pytest.raises(SystemExit, match="1"):
        contracts.run(file)
    assert said(capfd)[-1] == "- `zebras` is no longer served."
    file.with_name("CHANGELOG.md").write_text("## Unreleased\n\n- `zebras` is no longer served.\n")
    contracts.run(file)


def test_written(tmp_path: Path) -> None:
    """A file that isn't there, and one that lacks questions."""
    file = tmp_path / "contract.json"
    for before in ("", "{}", json.dumps({TABLE: []})):
        if before:
            file.write_text(before)
        contracts.run(None, file)
        assert json.loads(file.read_text()) == questions()
    contracts.run(file)


def test_nothing_is_taken_away_without_a_word(committed: Path) -> None:
    before = committed.read_text()
    with pytest.raises(ShelfmarkError, match="stays as it was") as refused:
        contracts.run(None, committed)
    assert str(refused.value).endswith(f"- `{TABLE}` no longer answers `{GONE}`.")
    assert committed.read_text() == before
    committed.with_name("CHANGELOG.md").write_text(TOLD)
    contracts.run(None, committed)
    assert json.loads(committed.read_text()) == questions()


def test_as_make_does_it(scratch: Path) -> None:
    shutil.copy(Path(contracts.__file__).parents[2] / "contract.json", scratch)
    assert run(scratch, SHELFMARK, "contract", "--check", "contract.json").code in {0, 1}
    assert run(scratch, SHELFMARK, "contract", "--write", "new.json").code == 0
    assert run(scratch, SHELFMARK, "contract", "--check", "new.json").code == 0


@pytest.mark.parametrize("content", [None, "", "not JSON", "[]", '{"books": 5}', "\xff"])
def test_a_file_that_is_no_contract(tmp_path: Path, content: str | None) -> None:
    """It is named, with what writes it anew."""
    file = tmp_path / "contract.json"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    with pytest.raises(SetupError, match=f"^{file} .*`make contract` writes it anew"):
        contracts.run(file)
