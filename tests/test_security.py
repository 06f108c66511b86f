"""docs/security.md: each test that it names is there, and it names those that try what hostile clients do."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE))


def test_every_test_that_is_named_exists() -> None:
    assert len(NAMED) > 15
    assert sorted(name for name in NAMED if not (ROOT / name).is_file()) == []


def test_every_threat_names_a_test() -> None:
    table = PAGE.partition("## What is tried")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) > 12
    assert [row for row in rows if "`tests/" not in row] == []


def test_tests_of_hostile_clients_are_named() -> None:
    assert {f"tests/http/test_{name}.py" for name in ("threats", "hostile", "canaries", "confining", "apikeys", "openapi")} <= NAMED
