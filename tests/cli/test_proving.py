"""`shelfmark indexes check`: what is the same, what is broken, what proves nothing; and the proof in a database made for it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text

from service.cli import proving
from service.errors import SetupError
from service.migrations.running import new_engine
from tests.cli.test_scratch import standing
from tests.fixtures.databases import new_database
from tests.fixtures.rows import full_template
from tests.fixtures.servers import Servers

AUTHORS = ("authors",)
SAME = "ok  the database has the indexes that the models declare"


@pytest.fixture
async def filled(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A database with full tables, and no other, is configured."""
    async with new_database(servers, await full_template(servers)) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        yield url


@pytest.fixture
def empty(own_database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with tables and without rows is configured."""
    monkeypatch.setenv("DATABASE_URL", own_database)
    return own_database


def executed(url: str, *statements: str) -> None:
    """Change something in a database."""

    async def execute() -> None:
        engine = new_engine(url).execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
        await engine.dispose()

    asyncio.run(execute())


def checked(capfd: pytest.CaptureFixture[str], scratch: int | None = None, tables: tuple[str, ...] = AUTHORS) -> tuple[int, str]:
    """The exit code, and what was printed, with single spaces."""
    capfd.readouterr()
    try:
        proving.run(scratch, tables)
    except SystemExit as end:
        return int(str(end.code)), re.sub(" +", " ", capfd.readouterr().out)
    return 0, re.sub(" +", " ", capfd.readouterr().out)


def test_a_database_that_keeps_every_promise(filled: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, told = checked(capfd)
    assert code == 0
    assert told.startswith(re.sub(" +", " ", SAME))
    assert re.search(r"^ pk_authors id= one \d+ \d+ ok $", told, flags=re.MULTILINE)
    assert re.search(r"^ ix_authors_search_name name__icontains= search \d+ \d+ ok $", told, flags=re.MULTILINE)
    assert "ok, along ix_authors_by_name" in told
    assert "8 of 8 combinations proven, 0 broken, 0 not proven;" in told


def test_an_index_that_is_gone(filled: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It is missed in the comparison, by the service, and in the plans."""
    executed(filled, "DROP INDEX ix_authors_by_name")
    code, told = checked(capfd)
    assert code == 1
    assert "bad Index ix_authors_by_name of authors is missing" in told
    assert "bad ix_authors_by_name of authors is withdrawn" in told
    assert re.search(r"^ ix_authors_by_name .* broken $", told, flags=re.MULTILINE)
    assert re.search(r"^ pk_authors .* ok $", told, flags=re.MULTILINE)
    assert " a scan of uq_authors_name where ix_authors_by_name was promised\n name__iexact=" in told
    assert re.search(r"; and \d+ more$", told, flags=re.MULTILINE)


def test_what_mends_the_database_is_printed_and_does(filled: str, capfd: pytest.CaptureFixture[str]) -> None:
    """`shelfmark migrate` has nothing to do where no migration is missing."""
    executed(
        filled,
        "DROP INDEX ix_authors_by_name",
        "DROP INDEX uq_authors_name",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_authors_search_name'::regclass",
    )
    code, told = checked(capfd)
    assert code == 1
    assert "Where an index was dropped or broken in the database, this mends it" in told
    statements = re.findall(r"^ ((?:CREATE|REINDEX) .*);$", told, flags=re.MULTILINE)
    assert [one.partition(" ON ")[0] for one in sorted(statements)] == [
        "CREATE INDEX CONCURRENTLY ix_authors_by_name",
        "CREATE UNIQUE INDEX CONCURRENTLY uq_authors_name",
        "REINDEX INDEX CONCURRENTLY ix_authors_search_name",
    ]
    executed(filled, *statements)
    code, told = checked(capfd)
    assert code == 0, told
    assert told.startswith(re.sub(" +", " ", SAME))


def test_a_role_that_may_make_no_temporary_tables(
    filled: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    role, database = f"reader_{uuid4().hex[:8]}", make_url(filled).database
    executed(
        filled,
        f"CREATE ROLE {role} LOGIN PASSWORD 'test'",
        f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
    )
    monkeypatch.setenv("DATABASE_URL", make_url(filled).set(username=role, password="test").render_as_string(hide_password=False))
    try:
        with pytest.raises(SetupError, match=f"GRANT SELECT ON alembic_version TO {role} lets it look"):
            checked(capfd)
        executed(filled, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        with pytest.raises(SetupError, match=f'GRANT TEMPORARY ON DATABASE "{database}" TO {role}; PostgreSQL writes'):
            checked(capfd)
    finally:
        executed(filled, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_role_that_may_only_read_where_an_index_stands_twice(
    filled: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written, and PostgreSQL may take either of the two."""
    role = f"reader_{uuid4().hex[:8]}"
    executed(
        filled,
        """CREATE INDEX another ON authors ((lower(name COLLATE "default") COLLATE "C"), id)""",
        "DROP INDEX ix_authors_search_name",
        f"CREATE ROLE {role} LOGIN PASSWORD 'test'",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    )
    monkeypatch.setenv("DATABASE_URL", make_url(filled).set(username=role, password="test").render_as_string(hide_password=False))
    try:
        code, told = checked(capfd)
    finally:
        executed(filled, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    assert code == 1
    assert "7 of 8 combinations proven, 1 broken, 0 not proven;" in told, told


def test_a_database_without_rows_proves_nothing(empty: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, told = checked(capfd)
    assert code == 0
    assert told.count("not proven: 0 rows are too few") == 8
    assert "0 of 8 combinations proven, 0 broken, 8 not proven; 0 statements" in told
    assert "`shelfmark indexes check --scratch 100000`" in told


def test_a_database_that_isnt_migrated(
    empty_database: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    code, told = checked(capfd)
    assert code == 1
    assert told.startswith("bad The database is at revision none")
    assert "Its plans can be proven once it is migrated." in told


def test_a_scratch_database_is_filled_and_proven_and_dropped(empty: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = standing(empty)
    code, told = checked(capfd, 400, ("copies",))
    assert code == 0, told
    assert "A scratch database holds 66 authors, 400 books, 1,200 copies" in told
    assert "9 of 9 combinations proven, 0 broken, 0 not proven;" in told
    assert standing(empty) <= before


def test_a_table_that_there_isnt(empty: str) -> None:
    with pytest.raises(SetupError, match=r"There is no table shelves\. There are authors, book_statistics, books"):
        proving.run(None, ("shelves",))


def test_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SetupError, match="DATABASE_URL is not set"):
        proving.run()


@pytest.mark.slow
def test_a_million_books(empty: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, told = checked(capfd, 1_000_000, ())
    assert code == 0, told
    assert "1,000,000 books" in told
    assert re.search(r"(\d+) of \1 combinations proven, 0 broken, 0 not proven;", told)
