"""`shelfmark import`, from the command to the rows; what it does with bad lines is tested where the import is."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service.cli import importing
from service.errors import SetupError
from service.jobs.importing import Options
from tests.fixtures.databases import new_database, template
from tests.fixtures.processes import SHELFMARK, run, unused_port
from tests.fixtures.servers import Servers

BOOKS = "book_id,title,authors\n1,It,Stephen King\n2,,Stephen King\n"


async def count(url: str) -> int:
    """How many books there are."""
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        found: int = (await connection.execute(text("SELECT count(*) FROM books"))).scalar_one()
    await engine.dispose()
    return found


async def test_from_standard_input(scratch: Path, servers: Servers) -> None:
    """A dry run says what would happen; the real one does it; the rejected line is kept."""
    async with new_database(servers, await template(servers)) as url:
        command = (SHELFMARK, "import", "books", "-", "--format", "csv", "--source", "invented", "--rejects", "rejects.csv")
        tried = run(scratch, *command, "--dry-run", given=BOOKS, DATABASE_URL=url)
        assert tried.code == 0, tried.err
        assert "dry run" in tried.err
        assert await count(url) == 0
        done = run(scratch, *command, given=BOOKS, DATABASE_URL=url)
        assert done.code == 0, done.err
        words = [line.split() for line in done.err.splitlines()]
        shown = {found[-2]: found[-1] for found in ([part for part in line if part.isalnum()] for line in words) if len(found) > 1}
        assert {name: shown[name] for name in ("read", "inserted", "rejected")} == {"read": "2", "inserted": "1", "rejected": "1"}
        assert await count(url) == 1
        assert "3" in (scratch / "rejects.csv").read_text()


def test_a_database_that_is_away(scratch: Path) -> None:
    """A sentence, as from every command."""
    away = f"postgresql://me:hunter2@127.0.0.1:{unused_port()}/name"
    ended = run(scratch, SHELFMARK, "import", "books", "-", "--format", "csv", "--source", "x", given=BOOKS, DATABASE_URL=away)
    assert ended.code == 2
    assert ended.err.startswith("PostgreSQL at 127.0.0.1:")
    assert "can't be reached" in ended.err
    assert "hunter2" not in ended.err


@pytest.fixture
def configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database, named by the environment of a directory without a `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("table", "file", "options", "sentence"),
    [
        ("books", "x.csv", Options(format="xml"), r"--format xml isn't known\. There are csv and ndjson\."),  # type: ignore[arg-type]
        ("nothing", "x.csv", Options(), "nothing"),
        ("books", "absent.csv", Options(), "absent.csv"),
    ],
)
def test_what_cannot_be_used(table: str, file: str, options: Options, sentence: str) -> None:
    """A format, a table and a file that don't exist are named."""
    with pytest.raises(SetupError, match=sentence):
        importing.run(table, file, options)
