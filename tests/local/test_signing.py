"""The secret is made once and kept to its owner."""

import stat
from pathlib import Path

import pytest

from service import local
from service.errors import SetupError
from service.settings import SECRET_CHARACTERS


def test_made_once_and_private(tmp_path: Path) -> None:
    """The same at each call; mode 600, also when someone had opened it."""
    made = local.secret(tmp_path / "s")
    assert len(made) >= SECRET_CHARACTERS
    (tmp_path / "s" / "secret").chmod(0o644)
    assert local.secret(tmp_path / "s") == made
    assert stat.S_IMODE((tmp_path / "s" / "secret").stat().st_mode) == 0o600
    assert local.secret(tmp_path / "other") != made


def test_an_emptied_one_is_made_anew(tmp_path: Path) -> None:
    """A signature by an empty secret would be no signature."""
    made = local.secret(tmp_path)
    (tmp_path / "secret").write_text("")
    again = local.secret(tmp_path)
    assert again != made
    assert len(again) == len(made)


def test_no_room_for_it(tmp_path: Path) -> None:
    """Something else of that name ends in a sentence."""
    (tmp_path / "secret").mkdir()
    with pytest.raises(SetupError, match="Is a directory"):
        local.secret(tmp_path)
