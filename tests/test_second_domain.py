"""The package serves, migrates, imports and proves another trade's tables with the library absent."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.newcomer import RUN, Newcomer, newcomer
from tests.docs.pages import ROOT, Step, steps

pytestmark = pytest.mark.xdist_group("docs")

GUIDE = ROOT / "docs" / "guides" / "your-own-tables.md"
DOMAIN = Path(__file__).parent / "second_domain"
START = Step(Path(__file__), 0, RUN, None)
PROVEN = "tests/test_every_table.py tests/test_every_index.py tests/test_schema.py tests/plans tests/migrations/test_in_step.py"
TABLES = ("boats", "hires")
SERVED = "test_a_factory_makes_a_row_that_is_served"
OARS = """
from sqlalchemy import ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model


class Oar(Model):
    __tablename__ = "oars"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    boat_id: Mapped[int] = mapped_column(ForeignKey("boats.id"))
"""
"""A table that makes each delete of a boat a scan."""


@pytest.fixture
def shop() -> Iterator[Newcomer]:
    """A project without the library, with the tables of a boat hire."""
    with newcomer() as made:
        made.run(steps(GUIDE)[0].commands)
        shutil.copytree(DOMAIN / "tables", made.folder / "service" / "tables", dirs_exist_ok=True, ignore=_not_there)
        shutil.copytree(DOMAIN / "factories", made.folder / "tests" / "factories", dirs_exist_ok=True, ignore=_not_there)
        shutil.copy(DOMAIN / "contract.json", made.folder)
        shutil.copy(DOMAIN / "hires.csv", made.folder)
        yield made


def _not_there(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("__")]


def test_a_boat_hire(shop: Newcomer) -> None:
    """From nothing but its files to a service that is proven."""
    assert sorted(path.name for path in (shop.folder / "service" / "tables").iterdir()) == ["__init__.py", "boats.py", "hires.py"]
    shop.follow([START])
    _migrated(shop)
    _imported(shop)
    shop.follow([START])
    _served(shop)
    assert shop.run("shelfmark contract --check contract.json") == ""
    shop.run("pytest -q --collect-only")  # what is left of the tests speaks of nothing that was deleted
    assert "No table declares a sample." in shop.run("! shelfmark sample")
    assert "bad" not in shop.run("SHELFMARK_SECRETS=0123456789abcdef0123456789abcdef shelfmark doctor")
    _warned(shop)
    shop.leave()
    assert f"{len(TABLES)} passed" in shop.run(f"pytest -q tests/test_every_table.py -k {SERVED}")
    shop.run(f"pytest -q -n 2 {PROVEN} -k 'not parcels'")


def _migrated(shop: Newcomer) -> None:
    shop.run('alembic revision --autogenerate -m "boat hire" && alembic upgrade head')
    (written,) = (shop.folder / "alembic" / "versions").glob("*.py")
    assert "postgresql_where" in written.read_text()
    assert "No new upgrade operations detected." in shop.run("alembic check")
    shop.run("alembic downgrade base && alembic upgrade head")


def _imported(shop: Newcomer) -> None:
    command = "shelfmark import hires hires.csv --rejects rejects.csv"
    assert _counts(shop.run(command)) == {"read": 5, "inserted": 3, "updated": 0, "unchanged": 0, "rejected": 2}
    rejected = (shop.folder / "rejects.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in rejected] == ["5", "6"]
    assert _counts(shop.run(command)) == {"read": 5, "inserted": 0, "updated": 0, "unchanged": 3, "rejected": 2}


def _counts(summary: str) -> dict[str, int]:
    cells = [line.strip("│ ").split("│") for line in summary.splitlines() if line.startswith("│")]
    return {name.strip(): int(number) for name, number in cells}


def _served(shop: Newcomer) -> None:
    """What `up` proposes works: rows, rows by their key, and a refusal with the line that would serve it."""
    lines = [line for line in shop.said().splitlines() if line.startswith("  curl")]
    listed, looked_up, refused = map(shop.run, lines)
    assert all("hires" in url for url in lines) or all("boats" in url for url in lines)
    assert '"data":[{' in listed
    assert '"data":[' in looked_up
    assert "/problems/not-served" in refused
    assert 'Index(\\"ix_' in refused


def _warned(shop: Newcomer) -> None:
    """A foreign key without an index takes the DELETE route away, and both the service and the doctor say so."""
    planted = shop.folder / "service" / "tables" / "oars.py"
    planted.write_text(OARS)
    shop.follow([START])
    told = "oars.boat_id refers to boats and leads no whole index: each delete would scan oars, so boats has no DELETE route. "
    assert told in shop.said()
    assert told + 'Give oars this index: Index("ix_oars_boat_id", boat_id, id)' in shop.run("! shelfmark doctor")
    asked = "curl -s -H @.shelfmark/authorization -o /dev/null -w '%{http_code}' -X DELETE http://127.0.0.1:8000/v1/boats/1"
    assert shop.run(asked) == "405"
    planted.unlink()
