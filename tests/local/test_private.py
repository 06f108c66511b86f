"""Files for their owner alone, whole or not there."""

import stat
from pathlib import Path

from service.local import private


def test_written_and_read(tmp_path: Path) -> None:
    """Mode 600 from the first byte on, and nothing else is left behind."""
    assert private.read(tmp_path / "a") is None
    private.write(tmp_path / "a", "one")
    private.write(tmp_path / "a", "two")
    assert private.read(tmp_path / "a") == "two"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_others_could_read_is_taken_back(tmp_path: Path) -> None:
    """Somebody may have copied the directory about."""
    (tmp_path / "a").write_text("one")
    (tmp_path / "a").chmod(0o644)
    assert private.read(tmp_path / "a") == "one"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_leftover_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    """It may even be a link to somewhere else, which is not followed."""
    (tmp_path / "elsewhere").write_text("theirs")
    (tmp_path / "a.new").symlink_to(tmp_path / "elsewhere")
    private.write(tmp_path / "a", "one")
    assert (tmp_path / "elsewhere").read_text() == "theirs"
    assert private.read(tmp_path / "a") == "one"
