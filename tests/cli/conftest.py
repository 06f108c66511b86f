"""Where the commands run."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service import local
from service.cli import main
from tests.fixtures.processes import Ended


@pytest.fixture
def scratch() -> Iterator[Path]:
    """An empty directory with a short path that every user can pass through, so that servers may live in it."""
    made = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    local.stop(made / ".shelfmark")
    shutil.rmtree(made)


@pytest.fixture
def shelfmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`shelfmark WORDS`, with settings, in an empty directory; in this process, which saves a second each time."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str, **settings: str) -> Ended:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["shelfmark", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return command
