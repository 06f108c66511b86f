"""Which user the servers run as."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import SetupError
from service.local import accounts
from tests.local.looking import AS_NOBODY, REPOSITORY, needs_root, printed, python


def test_never_root() -> None:
    """Root's servers run as nobody, a user's as that user."""
    account = accounts.for_new()
    expected = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    assert account.uid == expected != 0


@needs_root
def test_reach_depends_on_every_directory_above(room: Path) -> None:
    """As the system itself sees it, for that user."""
    account, inner = accounts.for_new(), room / "outer" / "inner"
    inner.mkdir(parents=True)
    inner.chmod(0o755)
    room.joinpath("outer").chmod(0o755)
    assert account.reaches(inner)
    room.joinpath("outer").chmod(0o700)
    assert not account.reaches(inner)
    assert not account.reaches(room / "missing")


@needs_root
def test_data_of_somebody_else(room: Path) -> None:
    """An ordinary user is told whose they are."""
    os.chown(room, pwd.getpwnam("daemon").pw_uid, -1)
    code = AS_NOBODY + (
        "\nfrom service.local.accounts import for_existing\n"
        "try: for_existing(Path(sys.argv[1]))\nexcept SetupError as error: print(error)"
    )
    assert "belong to user daemon. Run the command as that user or as root" in printed(python(code, room))


def test_a_user_without_a_name() -> None:
    """Containers run as numbers that no table knows."""
    assert accounts.name(3_999_999) == "3999999"
    assert accounts.name(0) == "root"


@needs_root
def test_a_machine_without_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says how to go on."""
    monkeypatch.setattr(accounts, "UNPRIVILEGED", "no-such-user")
    with pytest.raises(SetupError, match="Run the command as an ordinary user"):
        accounts.for_new()


@needs_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare to make a root who may be nobody else")
def test_a_root_who_can_be_nobody_else(room: Path) -> None:
    """As in a container that knows a single user."""
    code = (
        "import sys; from pathlib import Path; from service import local; from service.errors import SetupError\n"
        "try: local.start(Path(sys.argv[1]))\nexcept SetupError as error: print(error)\nelse: print('started')"
    )
    alone = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code, str(room / "s")]
    done = subprocess.run(alone, check=False, cwd=REPOSITORY, capture_output=True, text=True)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine makes no user namespaces")
    assert "doesn't let root run it as user nobody" in done.stdout, done.stderr
