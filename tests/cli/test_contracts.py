"""The contract as JSON, and how it differs from one that was committed."""

import json
from pathlib import Path

import pytest

from service.cli import contracts
from service.cli.contracts import differences, questions
from service.errors import SetupError
from tests.cli.processes import SHELFMARK, run


def test_printed(scratch: Path) -> None:
    """It needs no settings and no database."""
    printed = run(scratch, SHELFMARK, "contract")
    assert (printed.code, printed.err) == (0, "")
    assert json.loads(printed.out) == questions()
    assert "isbn13=" in json.loads(printed.out)["books"]


def test_unchanged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is said."""
    (tmp_path / "contract.json").write_text(json.dumps(questions()))
    contracts.run(tmp_path / "contract.json")
    assert capfd.readouterr() == ("", "")


def test_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A question more and one less: both are told, one a line, and the command fails."""
    committed = questions()
    taken_away, added = "colour=", committed["books"].pop()
    committed["books"].append(taken_away)
    (tmp_path / "contract.json").write_text(json.dumps(committed))
    with pytest.raises(SystemExit, match="1"):
        contracts.run(tmp_path / "contract.json")
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == f"taken away (breaking): books no longer answers {taken_away}"
    assert lines[1] == f"added: books answers {added}"
    assert "CHANGELOG.md" in lines[2]
    assert len(lines) == 3


def test_tables_come_and_go() -> None:
    """A table's questions go with it."""
    assert differences({"a": ["x="]}, {"a": ["x="]}) == []
    told = differences({"a": ["x="]}, {"b": ["y="]})
    assert told[:2] == ["taken away (breaking): a no longer answers x=", "added: b answers y="]


@pytest.mark.parametrize("content", [None, "", "not JSON", "[]", '{"books": 5}', "\xff"])
def test_a_file_that_is_no_contract(tmp_path: Path, content: str | None) -> None:
    """It is named, with what writes it anew."""
    file = tmp_path / "contract.json"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    with pytest.raises(SetupError, match=f"^{file} .*`make contract` writes it anew"):
        contracts.run(file)
