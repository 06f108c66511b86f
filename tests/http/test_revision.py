"""The code's newest revision is read off the files of its migrations, and is the one that Alembic finds."""

from pathlib import Path

from service import migrations
from service.http.revision import revisions

VERSIONS = Path(__file__).parents[2] / "alembic" / "versions"


def test_the_newest_is_the_one_that_alembic_finds() -> None:
    known, newest = revisions(VERSIONS)
    assert newest == {migrations.head()}
    assert newest < known
    assert len(known) == len(list(VERSIONS.glob("*.py")))


def test_branches_and_their_merge(tmp_path: Path) -> None:
    for name, after in {"a": None, "b": "a", "c": "a"}.items():
        (tmp_path / f"{name}.py").write_text(f"revision: str = {name!r}\ndown_revision: str | None = {after!r}\n")
    assert revisions(tmp_path) == (frozenset("abc"), frozenset("bc"))
    merged = tmp_path / "merged"
    merged.mkdir()
    for path in tmp_path.glob("*.py"):
        (merged / path.name).write_text(path.read_text())
    (merged / "d.py").write_text('revision = "d"\ndown_revision = ("b", "c")\n')
    assert revisions(merged) == (frozenset("abcd"), frozenset("d"))


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert revisions(tmp_path / "nowhere") == (frozenset(), frozenset())
