"""`shelfmark indexes`: what stands, what is too much, what is missing; as people see it, and as programs do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url, text

from service import schema
from service.app import create_app
from service.cli import standing, suggesting
from service.cli.sampling import UNTIL, sampled
from service.db import Database
from service.errors import SetupError
from service.local.servers import Servers as Local
from service.migrations.running import new_engine
from tests.fixtures.application import client_of
from tests.fixtures.databases import administering, new_database, settings_of, template
from tests.fixtures.keys import let_in
from tests.fixtures.processes import SHELFMARK, run, unused_port
from tests.fixtures.servers import Servers
from tests.fixtures.undeclaring import undeclared
from tests.waiting import until

BOOKS = 600
SCRATCHES = text("SELECT datname FROM pg_database WHERE datname LIKE 'shelfmark_scratch_%'")


@pytest.fixture(scope="module")
async def library(servers: Servers) -> AsyncIterator[str]:
    """The name of a database with a small library, to be cloned."""
    async with new_database(servers, await template(servers)) as url:
        await asyncio.to_thread(sampled, url, BOOKS, UNTIL)
        await let_in(url)
        yield str(make_url(url).database)


@pytest.fixture
async def url(servers: Servers, library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[str]:
    """A library of this test's own, configured, in a directory where no servers run."""
    async with new_database(servers, library) as made:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DATABASE_URL", made)
        yield made


def execute(url: str, *statements: str) -> None:
    """Change something in a database."""

    async def executed() -> None:
        engine = new_engine(url).execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)
        await engine.dispose()

    asyncio.run(executed())


def refuse(url: str, **times: int) -> None:
    """Have questions refused, each so often, and written down; `books__title=Dune` is `/v1/books?title=Dune`."""

    async def asked() -> None:
        settings = settings_of(url)
        database = Database.connect(url, settings)
        app = create_app(settings, database)
        async with app.router.lifespan_context(app), client_of(app) as client:
            for address, count in times.items():
                table, _, query = address.partition("?")
                for _ in range(count):
                    assert (await client.get(f"/v1/{table}?{query}")).status_code == 400, address
        await database.close()

    asyncio.run(asked())


Printed = Callable[..., str]


@pytest.fixture
def printed(capfd: pytest.CaptureFixture[str]) -> Printed:
    """Call something, and give what it printed for people, with single spaces."""

    def call(command: Callable[..., None], *values: Any, **named: Any) -> str:
        capfd.readouterr()
        command(*values, **named)
        return " ".join(capfd.readouterr().out.split())

    return call


def told(printed: Printed, command: Callable[..., None], *values: Any) -> Any:
    """What a command says to programs."""
    return json.loads(printed(command, *values, as_json=True))


def test_list(url: str, printed: Printed) -> None:
    found = told(printed, standing.run_list)
    by_name = {one["name"]: one for one in found["indexes"]}
    one = by_name["ix_books_by_author"]
    assert one["needs"] == ["foreign key author_id"]
    assert "author_id= & published_year= & [sort=-id or id] & [id__gt|gte|lt|lte=]" in one["questions"]
    assert (one["state"], one["outside"], one["words"].startswith("btree (author_id, published_year DESC")) == (
        "valid",
        False,
        True,
    )
    assert (found["missing"], found["foreign_keys_without_index"]) == ([], [])
    shown = printed(standing.run_list, as_json=False)
    assert all(name in shown for name in by_name)
    assert "Scans are counted since" in shown


def test_list_tells_what_is_wrong(url: str, printed: Printed) -> None:
    execute(
        url,
        "DROP INDEX ix_books_newest",
        "CREATE INDEX aside ON books (title)",
        "CREATE INDEX spoilt ON books (language)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN ('spoilt'::regclass, 'ix_books_by_author'::regclass)",
        "DROP TABLE events",
    )
    shown = printed(standing.run_list, as_json=False)
    assert "books aside made outside" in shown
    assert "INVALID" in shown
    assert (
        "ix_books_newest of books is missing. Run `shelfmark migrate`; if that has nothing to do, `shelfmark indexes check`"
        in shown
    )
    assert "ix_books_by_author of books is INVALID. If nothing builds it: run `shelfmark migrate`; if" in shown
    assert "spoilt of books is" not in shown, "what was made outside is nobody's business here"
    assert "The database has no table events: run `shelfmark migrate`." in shown


@pytest.mark.parametrize("command", [standing.run_list, standing.run_duplicates, standing.run_unused])
def test_nothing_is_said_of_a_database_without_tables_but_that(
    command: Callable[..., None], empty_database: str, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    shown = printed(command, as_json=False)
    assert shown.startswith(
        "The database has no tables authors, books, copies, events, holds, loans, members and book_statistics: run `shelf"
    )


@pytest.fixture
def forgotten() -> Iterator[str]:
    """The holds without the index that their copies' deletion needs."""
    router = next(one for one in schema.routers() if one.table.of.contract.table == "holds")
    with undeclared(router, "ix_holds_of_copy"):
        yield "ix_holds_of_copy"


def test_a_foreign_key_without_an_index(url: str, forgotten: str, printed: Printed) -> None:
    """Both commands name it, and one has the line."""
    execute(url, f"DROP INDEX {forgotten}")
    assert "The foreign key holds.copy_id leads no index: deletes scan holds." in printed(standing.run_list, as_json=False)
    (one,) = told(printed, suggesting.run, 0.95, 0)["suggestions"]
    assert (one["line"], one["foreign_keys"], one["refusals"]) == ('Index("ix_holds_copy_id", copy_id, id)', ["copy_id"], 0)


def test_duplicates(url: str, printed: Printed) -> None:
    assert "No index does what another one does already." in printed(standing.run_duplicates, as_json=False)
    execute(url, "CREATE INDEX twin ON books (author_id, published_year DESC NULLS LAST, id DESC)")
    shown = printed(standing.run_duplicates, as_json=False)
    assert "books twin ix_books_by_author, which has the same keys" in shown
    assert "1 could go; they take" in shown
    assert "DROP INDEX CONCURRENTLY" in shown
    assert "uq_loans_open_of_copy ix_loans_of_copy it is unique: a rule, not only a way" in shown
    kept = {one["index"]: one["kept"] for one in told(printed, standing.run_duplicates)["duplicates"]}
    assert kept["twin"] == []
    assert kept["uq_loans_open_of_copy"]


def test_unused(url: str, printed: Printed) -> None:
    execute(
        url, "CREATE INDEX aside ON books (title)", "CREATE UNIQUE INDEX rule ON books (created_at, id)", "SELECT pg_stat_reset()"
    )
    found = told(printed, standing.run_unused)
    assert [one["name"] for one in found["unused"]] == ["aside"], "a rule is needed, whoever made it"
    asked = {one["name"] for one in found["served_never_asked"]}
    assert {"ix_books_newest", "ix_members_search_name"} <= asked
    assert asked.isdisjoint({"ix_books_by_author", "uq_books_isbn13", "pk_books"}), "a foreign key, a rule, a key"
    shown = printed(standing.run_unused, as_json=False)
    assert "1 never used; they take" in shown
    assert "0 days. A crash loses them" in shown


def test_nothing_is_counted(url: str, printed: Printed) -> None:
    execute(url, f"ALTER DATABASE {make_url(url).database} SET track_counts = off")
    assert "Scans aren't counted here: track_counts is off, so nothing can be said of use." in printed(
        standing.run_unused, as_json=False
    )


def test_an_empty_ledger(url: str, printed: Printed) -> None:
    assert printed(suggesting.run, 0.95, 1000, as_json=False).startswith("The ledger is empty: no question was refused")
    assert told(printed, suggesting.run, 0.95, 1000)["suggestions"] == []


def test_suggest(url: str, printed: Printed) -> None:
    """Text and JSON say the same; the scratch database is gone."""
    refuse(
        url,
        **{"books?language=en": 5, "books?language=en&published_year__gte=1990": 2, "copies?shelfmark=a&sort=-barcode": 1},
        **{"books?title__icontains=dune&language=en": 1, "members?name__startswith=A": 1},
    )
    found = told(printed, suggesting.run, 1.0, 500)
    first, second = found["suggestions"]
    assert found["refusals"] == 10
    assert first["line"] == 'Index("ix_books_language_published_year", language, published_year.desc().nulls_last(), id.desc())'
    assert first["serves"] == [
        {"question": "language=", "times": 5},
        {"question": "language= & published_year__gt|gte|lt|lte=", "times": 2},
    ]
    assert (first["refusals"], first["proven"], first["unproven_because"]) == (7, True, [])
    assert 300 < first["sample_rows"] <= 450
    assert first["insert"]["with"]["wal_bytes"] > first["insert"]["without"]["wal_bytes"]
    assert second["line"] == 'Index("ix_copies_shelfmark_barcode", shelfmark, barcode.desc(), id.desc())'
    assert {one["question"]: one["why"] for one in found["no_index_can"]}.keys() == {
        "language= & title__icontains=",
        "name__startswith=",
    }
    shown = printed(suggesting.run, 1.0, 500, as_json=False)
    assert "The ledger holds 10 refusals of 5 shapes since" in shown
    assert "2 indexes would have served 80 % of them." in shown
    assert f"1. books: 7 refusals, 70 % {first['line']}" in shown
    assert "all that it serves rides it, planned for its values and for any (3 in the contract)" in shown
    assert "bytes of WAL for each inserted row" in shown
    assert "a search stands alone" in shown


async def test_no_scratch_database_is_left(url: str, servers: Servers, printed: Printed) -> None:
    async with administering(servers) as admin:
        before = set(await admin.scalars(SCRATCHES))
        await asyncio.to_thread(refuse, url, **{"books?language=en": 1})
        await asyncio.to_thread(printed, suggesting.run, 1.0, 100, as_json=True)
        left = set(await admin.scalars(SCRATCHES)) - before  # those of other workers go in a moment

        async def gone() -> bool:
            return left.isdisjoint(await admin.scalars(SCRATCHES))

        await until(gone)


def test_a_search_and_a_rule(url: str, printed: Printed) -> None:
    """Of two rules one is kept by the rows; the GIN index is proven as well."""
    refuse(url, **{"copies?shelfmark__icontains=gil": 3, "loans?due_on__in=2026-01-01": 2, "events?subject__in=a,b": 2})
    found = told(printed, suggesting.run, 1.0, 2000)
    assert [(one["table"], one["unique"], one["proven"]) for one in found["suggestions"]] == [("copies", False, True)]
    assert "gin_trgm_ops" in found["suggestions"][0]["line"]
    assert {one["why"] for one in found["no_index_can"]} == {"only a unique index serves it, and rows have the same values"}


def test_less_than_all(url: str, printed: Printed) -> None:
    refuse(url, **{"books?language=en": 9, "books?title=Dune": 1})
    found = told(printed, suggesting.run, 0.9, 0)
    assert [one["refusals"] for one in found["suggestions"]] == [9]
    assert [one["question"] for one in found["left"]] == ["title="]
    assert "Served by none of these: it would take another index each (--share 1 shows them):" in printed(
        suggesting.run, 0.9, 0, as_json=False
    )


def test_one_that_somebody_made_outside_is_only_declared(url: str, printed: Printed) -> None:
    execute(url, "CREATE INDEX by_shelf ON copies (shelfmark, id)")
    refuse(url, **{"copies?shelfmark=a": 1})
    (one,) = told(printed, suggesting.run, 1.0, 500)["suggestions"]
    assert (one["line"], one["stands_already"], one["proven"]) == ('Index("by_shelf", shelfmark, id)', True, True)
    assert "the database has it, made outside" in printed(suggesting.run, 1.0, 0, as_json=False)


def test_what_the_ledger_says_of_things_that_are_gone(url: str, printed: Printed) -> None:
    execute(
        url,
        "INSERT INTO shelfmark_refusals (table_name, shape, question, times) VALUES"
        """ ('zebras', '{"equals":{"id":"any"}}', 'id=', 3), ('books', '{"equals":{"colour":"any"}}', 'colour=', 2),"""
        """ ('books', '', '(questions that found no room)', 7), ('books', 'x', 'x=', 1),"""
        """ ('books', '{"equals":{"id":"any"}}', 'id=', 4)""",
    )
    shown = printed(suggesting.run, 0.95, 0, as_json=False)
    assert "No index is worth suggesting." in shown
    assert "No longer there, the table or a column: zebras id= 3 books colour= 2 books x= 1" in shown
    assert "Served by now: books id= 4" in shown
    assert "7 refusals were counted together, or are beyond the most refused shapes." in shown
    found = told(printed, suggesting.run, 0.95, 0)
    assert (len(found["no_longer_there"]), found["counted_together"]) == (3, 7)


def test_not_tried(url: str, printed: Printed) -> None:
    refuse(url, **{"books?language=en": 1, "books?title__in=a,b": 1})
    (one,) = told(printed, suggesting.run, 1.0, 0)["suggestions"]
    assert (one["proven"], one["unproven_because"], one["size_bytes"]) == (False, ["--rows 0 says so"], None)
    assert "nobody knows whether rows keep that rule" in printed(suggesting.run, 1.0, 0, as_json=False)


@pytest.fixture
async def poor(url: str, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A role that may read, write and no more, configured."""
    role, name = f"poor_{uuid4().hex[:8]}", make_url(url).database
    async with administering(servers) as admin:
        await admin.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
    try:
        engine = new_engine(url).execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        await engine.dispose()
        own = make_url(url).set(username=role, password="poor").render_as_string(hide_password=False)
        monkeypatch.setenv("DATABASE_URL", own)
        yield role
    finally:
        async with administering(servers) as admin:
            await admin.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await admin.exec_driver_sql(f"DROP ROLE {role}")


async def test_no_right_to_make_a_scratch_database(url: str, poor: str, printed: Printed) -> None:
    """All else works, and the list says that nothing is proven, and why."""
    await asyncio.to_thread(refuse, url, **{"books?language=en": 1})
    (one,) = (await asyncio.to_thread(told, printed, suggesting.run, 1.0, 500))["suggestions"]
    assert not one["proven"]
    (why,) = one["unproven_because"]
    assert why.startswith(f"The role {poor} may not create databases, and a scratch database is one.")


async def test_the_servers_of_up_will_do(
    url: str, poor: str, servers: Servers, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the configured database has no room for a scratch one, those that run here have."""
    monkeypatch.setattr(suggesting, "attach", lambda _directory: Local(servers.database("postgres"), servers.redis, found=True))
    await asyncio.to_thread(refuse, url, **{"books?language=en": 1})
    (one,) = (await asyncio.to_thread(told, printed, suggesting.run, 1.0, 500))["suggestions"]
    assert one["proven"]


async def test_no_right_to_read_the_ledger(url: str, poor: str) -> None:
    await asyncio.to_thread(execute, url, f"REVOKE ALL ON shelfmark_refusals FROM {poor}")
    with pytest.raises(SetupError, match="may not read the ledger: GRANT SELECT ON shelfmark_refusals"):
        await asyncio.to_thread(suggesting.run, 1.0, 0, as_json=False)


def test_no_ledger(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    with pytest.raises(SetupError, match="no ledger of refused questions yet: run `shelfmark migrate`"):
        suggesting.run(0.95, 0, as_json=False)


def test_a_table_that_is_not_migrated(url: str, printed: Printed) -> None:
    refuse(url, **{"books?language=en": 1})
    execute(url, "DROP TABLE books CASCADE")
    (one,) = told(printed, suggesting.run, 1.0, 500)["suggestions"]
    assert one["unproven_because"] == ['its rows can\'t be copied: relation "books" does not exist']


@pytest.mark.parametrize("command", [["list"], ["duplicates"], ["unused"], ["suggest"]])
def test_the_database_is_away(scratch: Path, command: list[str]) -> None:
    """A sentence without the password, and exit code 2."""
    away = f"postgresql://me:hunter2@127.0.0.1:{unused_port()}/name"
    ended = run(scratch, SHELFMARK, "indexes", *command, DATABASE_URL=away)
    assert (ended.code, ended.out) == (2, "")
    assert "can't be reached" in ended.err
    assert "hunter2" not in ended.err


def test_its_commands(scratch: Path) -> None:
    """Without one, they are listed."""
    shown = run(scratch, SHELFMARK, "indexes")
    assert all(name in shown.out + shown.err for name in ("list", "check", "duplicates", "unused", "suggest"))
