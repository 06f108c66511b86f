"""The shared directory: bytes at their position, and whether it can be used at all."""

from pathlib import Path

import pytest

from service.errors import SetupError
from service.jobs.folder import Folder, pieces


def test_bytes_go_where_they_belong(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("f", 0, b"one and what was rolled back")
    folder.write("f", 3, b"two")
    folder.sync("f", 6)
    assert folder.read("f", 0) == b"onetwo"
    assert folder.read("f", 3, 2) == b"tw"
    assert folder.read("f", 6) == b""


def test_a_file_without_bytes_is_there_once_it_is_synced(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.sync("f", 0)
    assert folder.read("f", 0) == b""
    folder.remove("f")
    folder.remove("f")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_can_be_used(tmp_path: Path) -> None:
    Folder(tmp_path).check()
    assert list(tmp_path.iterdir()) == []


def test_directories_that_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere", tmp_path / "file", Path("/proc")):
        with pytest.raises(SetupError, match=r"SHELFMARK_SPOOL_DIRECTORY .* can't be written to: .+\. It must be a directory"):
            Folder(path).check()


def test_pieces() -> None:
    assert list(pieces(b"", 3)) == []
    assert list(pieces(b"abcdefgh", 3)) == [b"abc", b"def", b"gh"]
