"""`shelfmark doctor`: what is well, and each thing that can be wrong."""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import make_url

from service import local, migrations
from service.cli.doctor import RELIED_UPON, advice, run
from service.db import budget
from service.local import redis
from service.local.postgres import NAME
from service.settings import load
from tests.docs.pages import ROOT
from tests.fixtures.processes import SECRET, unused_port
from tests.fixtures.servers import Servers
from tests.local.looking import kill, places_of
from tests.migrations.projects import fetch


class Doctor:
    """Calls the command in an environment of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capfd = patch, capfd
        self.well: list[str] = []

    def __call__(self, **environment: str) -> tuple[int, list[str]]:
        """Its exit code, and the findings that are bad."""
        for name, value in environment.items():
            self.patch.setenv(name, value)
        code = 0
        try:
            run()
        except SystemExit as end:
            code = int(str(end.code))
        lines = self.capfd.readouterr().out.splitlines()
        assert all(line.startswith(("ok  ", "bad ")) for line in lines), lines
        self.well = [line[4:] for line in lines if line.startswith("ok")]
        return code, [line[4:] for line in lines if line.startswith("bad")]


@pytest.fixture
def ask(
    tmp_path: Path, database_url: str, servers: Servers, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Doctor:
    """A doctor who finds everything well, in a directory without a `.env`, until a test changes something."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", servers.redis)
    monkeypatch.setenv("SHELFMARK_SECRETS", SECRET)
    return Doctor(monkeypatch, capfd)


def test_all_is_well(ask: Doctor) -> None:
    """It ends with 0, and tells the arithmetic of connections and what it measured."""
    assert ask() == (0, [])
    told = "\n".join(ask.well)
    sum_of_all = (
        r"^2 processes x \(6 reads \+ 4 writes \+ 1 aside\) \+ 1 worker x \(1 relay \+ 3 slots\) \+ 3 in reserve = 29 "
        r"connections of the \d+ that "
        r"PostgreSQL offers; "
    )
    assert re.search(sum_of_all + r"\d+ are open now$", told, re.MULTILINE)
    assert re.search(r"^a round trip takes \d+\.\d\d ms$", told, re.MULTILINE)
    waited = r"^\d+ readers at once wait \d+\.\d\d ms for one of \d connections?, and read [\d,]+ times a second$"
    assert re.search(waited, told, re.MULTILINE)


def test_nothing_is_set(ask: Doctor) -> None:
    """It says what to set, and that `up` would do without."""
    code, (found,) = ask(DATABASE_URL="", REDIS_URL="", SHELFMARK_SECRETS="")
    assert code == 1
    assert found.startswith("DATABASE_URL is not set")


def test_a_wrong_setting(ask: Doctor) -> None:
    """It names the variable and nothing of its value."""
    code, (found, detail) = _two(ask, DATABASE_URL="mysql://me:hunter2@host/name")
    assert code == 1
    assert found == "The settings can't be used:"
    assert detail == "DATABASE_URL: must begin with postgresql://"


def _two(ask: Doctor, **environment: str) -> tuple[int, tuple[str, str]]:
    """A finding of two lines."""
    for name, value in environment.items():
        ask.patch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        run()
    first, second = ask.capfd.readouterr().out.splitlines()
    return int(str(end.value.code)), (first[4:], second.strip())


def test_no_secrets(ask: Doctor) -> None:
    """With a configured database, `serve` will want them."""
    code, (found,) = ask(SHELFMARK_SECRETS="")
    assert code == 1
    assert found.startswith("SHELFMARK_SECRETS is not set: `serve` needs it.")


def test_the_database_is_away(ask: Doctor) -> None:
    """One bad finding, without the password; Redis is looked at all the same."""
    code, (found,) = ask(DATABASE_URL=f"postgresql://me:hunter2@127.0.0.1:{unused_port()}/name")
    assert code == 1
    assert found.startswith("PostgreSQL: The database can't be reached")
    assert "hunter2" not in found


def test_behind_head(ask: Doctor, empty_database: str) -> None:
    """It says what is missing and what to run."""
    code, found = ask(DATABASE_URL=empty_database)
    assert code == 1
    assert found[0] == f"the database is at no migration, the code at {migrations.head()}: run `shelfmark migrate`"
    assert "table books is missing: run `shelfmark migrate`" in found


def test_newer_code_has_migrated_it(ask: Doctor, empty_database: str) -> None:
    """It doesn't advise to migrate, which would be refused."""
    migrations.upgrade(empty_database)
    asyncio.run(fetch(empty_database, "UPDATE alembic_version SET version_num = 'later'"))
    code, (found,) = ask(DATABASE_URL=empty_database)
    assert code == 1
    assert "The database is at the migration later, which isn't in " in found


def test_redis_is_away(ask: Doctor) -> None:
    """The database is well all the same."""
    code, (found,) = ask(REDIS_URL=f"redis://:hunter2@127.0.0.1:{unused_port()}/0")
    assert code == 1
    assert found.startswith("Redis can't be reached")
    assert "hunter2" not in found


def test_redis_of_up_has_died(ask: Doctor, scratch: Path) -> None:
    """It isn't taken for one that isn't set; the database of `up` is well."""
    directory = scratch / ".shelfmark"
    migrations.upgrade(local.start(directory, durable=False).database_url)
    kill(places_of(directory), redis)
    code, (found,) = ask(DATABASE_URL="", REDIS_URL="", SHELFMARK_DIRECTORY=str(directory))
    assert code == 1
    assert found.startswith("Redis can't be reached")


def test_more_connections_than_there_are(ask: Doctor) -> None:
    """The arithmetic is shown."""
    code, (found,) = ask(SHELFMARK_READ_POOL_SIZE="400", WEB_CONCURRENCY="3")
    assert code == 1
    assert found.startswith(
        "4 processes x (400 reads + 4 writes + 1 aside) + 1 worker x (1 relay + 3 slots) + 3 in reserve = 1627 "
        "connections, and PostgreSQL offers "
    )


def test_a_sum_that_is_too_large_is_not_advised_to_grow(ask: Doctor) -> None:
    """While there are too few connections, nobody is told to run more processes."""
    ask(SHELFMARK_READ_POOL_SIZE="400")
    assert not any("WEB_CONCURRENCY" in line for line in ask.well)


@pytest.mark.parametrize(("limit", "advised"), [(12, "SHELFMARK_CONNECTION_BUDGET=12"), (2, "can't do with fewer than 11")])
def test_a_role_that_may_have_few_connections(ask: Doctor, role: str, limit: int, advised: str) -> None:
    """What is advised is what would be taken."""
    administer(owner_of(role), f"ALTER ROLE {make_url(role).username} CONNECTION LIMIT {limit}")
    code, found = ask(DATABASE_URL=role)
    assert code == 1
    sum_of_all = "2 processes x (6 reads + 4 writes + 1 aside) + 1 worker x (1 relay + 3 slots) + 3 in reserve = 29"
    assert found[0].startswith(f"{sum_of_all} connections, and PostgreSQL offers ")
    assert f"offers {limit}. " in found[0]
    assert advised in found[0]
    if limit > 2:
        assert ask(DATABASE_URL=role, SHELFMARK_CONNECTION_BUDGET=str(limit)) == (0, [])


def test_a_role_that_has_no_connection_left(ask: Doctor, role: str) -> None:
    """Whose they are can be asked."""
    administer(owner_of(role), f"ALTER ROLE {make_url(role).username} CONNECTION LIMIT 0")
    code, (found,) = ask(DATABASE_URL=role)
    assert code == 1
    assert "too many connections" in found
    assert "FROM pg_stat_activity" in found


def test_jobs_that_nobody_does(ask: Doctor, own_database: str) -> None:
    """It says who works on how much, and that a worker is missing."""
    assert ask(DATABASE_URL=own_database) == (0, [])
    assert "0 workers seen in the last 10 s, with 0 slots in all; 0 jobs wait, 0 are for later, 0 run, 0 have failed" in ask.well
    job = "INSERT INTO shelfmark_jobs (name, attempts, lease, due_at) VALUES ('a', 1, 3, clock_timestamp() - interval '2 minutes')"
    administer(own_database, job)
    code, (found,) = ask()
    assert code == 1
    nobody = r"1 job waits, the oldest for \d{3} s, and no worker was seen in the last 10 s: run `shelfmark worker`"
    assert re.fullmatch(nobody, found)
    administer(own_database, "INSERT INTO shelfmark_workers (id, slots) VALUES ('a', 3)")
    assert ask() == (0, [])
    assert "1 worker seen in the last 10 s, with 3 slots in all; 1 job waits, 0 are for later, 0 run, 0 have failed" in ask.well


def test_advice_follows_what_was_measured() -> None:
    """A database that is far away keeps connections busy: more of them are worth it, if there are more."""
    one = load(_env_file=None, web_concurrency=max(2, os.cpu_count() or 1))
    assert not any("READ_POOL_SIZE" in line for line in advice(one, trip=0.001, most=10_000))
    assert any("SHELFMARK_READ_POOL_SIZE=20 " in line for line in advice(one, trip=0.01, most=10_000))
    assert not any("READ_POOL_SIZE" in line for line in advice(one, trip=0.01, most=budget.needed(one)))
    assert any(f"SHELFMARK_CONNECTION_BUDGET={budget.needed(one)} " in line for line in advice(one, trip=0.001, most=10_000))


def test_processors_are_counted_apart_from_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    told = "of this machine's 4 processors the web processes use 1: WEB_CONCURRENCY=4 would use them all"
    assert told in list(advice(load(_env_file=None, web_concurrency=1), trip=0.001, most=10_000))


def test_a_budget_that_is_too_small(ask: Doctor) -> None:
    """It says what each process needs."""
    code, (found,) = ask(SHELFMARK_CONNECTION_BUDGET="10", WEB_CONCURRENCY="3")
    assert code == 1
    assert found.startswith("SHELFMARK_CONNECTION_BUDGET=10 is too small")


def test_behind_a_pooler_the_role_has_to_be_set(ask: Doctor, role: str) -> None:
    """What the service would say when it connects, a pooler takes none of: each setting that is missing is named."""
    code, found = ask(DATABASE_URL_READ=role, SHELFMARK_POOLER="true")
    assert code == 1
    assert "connections that read have enable_sort = on, and need off: " in "".join(found)
    assert len(found) == len(RELIED_UPON) - 1  # the tests' server has UTC already


def test_behind_a_pooler_with_a_role_as_the_docs_make_it(ask: Doctor, role: str) -> None:
    """Nothing is missing then."""
    name = make_url(role).username
    guide = (ROOT / "docs" / "guides" / "pooling.md").read_text()
    (sql,) = re.findall(r"^```sql\n(ALTER ROLE shelfmark_read.*?)^```$", guide, flags=re.MULTILINE | re.DOTALL)
    administer(owner_of(role), sql.replace("shelfmark_read", str(name)))
    assert ask(DATABASE_URL_READ=role, SHELFMARK_POOLER="true") == (0, [])


def owner_of(role: str) -> str:
    """The URL of the local servers' owner, on the database of a role."""
    return make_url(role).set(username=NAME).render_as_string()


def administer(url: str, *statements: str) -> None:
    """Run statements on the database of a URL, as its user."""

    async def administered() -> None:
        connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(administered())


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """The database's URL for a role of its own, which may read, and for which nothing is set."""
    if make_url(database_url).username != NAME:
        pytest.skip("an external server may ask other roles for a password")
    name = f"reader_{uuid4().hex[:12]}"
    administer(database_url, f"CREATE ROLE {name} LOGIN", f"GRANT pg_read_all_data TO {name}")
    yield make_url(database_url).set(username=name).render_as_string()
    administer(database_url, f"DROP ROLE {name}")


@pytest.fixture
def unlike_text(tmp_path: Path) -> Path:
    """A `.env` that is no text."""
    file = tmp_path / ".env"
    file.write_bytes(b"\xff\xfe")
    return file


def test_a_spoilt_env_file(ask: Doctor, unlike_text: Path) -> None:
    """It is named."""
    code, (found,) = ask()
    assert code == 1
    assert found.startswith(f"{unlike_text.name} can't be read")


def test_a_directory_for_files(ask: Doctor, tmp_path: Path) -> None:
    """It is written to, and read."""
    (tmp_path / "shared").mkdir()
    assert ask(SHELFMARK_SPOOL_DIRECTORY=str(tmp_path / "shared")) == (0, [])
    assert f"uploads, rejects and exports are kept in {tmp_path / 'shared'}" in ask.well
    assert list((tmp_path / "shared").iterdir()) == []
    code, bad = ask(SHELFMARK_SPOOL_DIRECTORY=str(tmp_path / "nowhere"))
    assert code == 1
    assert ["SHELFMARK_SPOOL_DIRECTORY" in line and "No such file" in line for line in bad] == [True]
