"""The header as curl reads it."""

from pathlib import Path

import pytest

from service.local import header


def test_kept_as_curl_sends_it(tmp_path: Path) -> None:
    assert header.kept(tmp_path) is None
    header.keep(tmp_path, "shelf_x")
    assert (tmp_path / header.NAME).read_text() == "Authorization: Bearer shelf_x\n"
    assert header.kept(tmp_path) == "shelf_x"


@pytest.mark.parametrize(
    "content", ["", "shelf_x", "Authorization: Basic x", "Authorization: Bearer a b", "Authorization: Bearer a\nX: y"]
)
def test_what_is_no_such_header_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / header.NAME).write_text(content)
    assert header.kept(tmp_path) is None
