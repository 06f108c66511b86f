"""The steps by which an index of a table in use is built, replaced, removed or renamed: nobody waits, and each may be run twice."""

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service import settings
from service.errors import SetupError
from service.migrations import building
from service.migrations.running import new_engine
from tests.migrations.books import BY_TITLE, BY_YEAR, INDEXES, REMOVED, Found, Upgrade
from tests.migrations.conftest import Sql
from tests.migrations.standalone import Bystander, Standalone

BUILDING = "FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND datname = current_database()"
WAITING = f"{BUILDING} AND wait_event = 'virtualxid'"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was paused for: here no service runs that would have to be waited for."""
    seconds: list[float] = []
    monkeypatch.setattr(building, "pause", lambda _, time: seconds.append(time))
    return seconds


def test_an_index_is_built_and_removed(upgrade: Upgrade, standing: Found, pauses: list[float]) -> None:
    upgrade(BY_YEAR)
    assert standing() == {"ix": "btree (year)"}
    assert pauses == []
    upgrade(REMOVED)
    assert standing() == {}
    assert pauses == [building.WITHDRAWN_SECONDS]
    assert building.WITHDRAWN_SECONDS == 2.0


def test_a_changed_index_is_whole_before_the_old_one_goes(
    upgrade: Upgrade, standing: Found, other: Bystander, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(BY_YEAR)
    meanwhile: list[list[Any]] = []
    monkeypatch.setattr(building, "pause", lambda *_: meanwhile.append(other.does(INDEXES)))
    upgrade(BY_TITLE)
    assert standing() == {"ix": "btree (lower(title), id)"}
    ((new, old),) = meanwhile
    assert (new["name"], new["words"], new["valid"]) == ("ix", "btree (lower(title), id)", True)
    assert (old["name"][:19], old["words"], old["valid"]) == ("shelfmark_dropping_", "btree (year)", True)


def test_where_all_is_right_nothing_is_done(upgrade: Upgrade, sql: Sql, pauses: list[float]) -> None:
    upgrade(BY_TITLE, "op.build_index('b', 'books', 'btree (year)', unique=True)")
    before = sql("SELECT oid FROM pg_class WHERE relkind = 'i' ORDER BY 1")
    upgrade(
        "op.build_index('ix', 'books', 'btree ( LOWER( title ) , id ASC )')",
        "op.build_index('b', 'books', 'btree (year)', unique=True)",
        "op.rename_index('a', 'b', 'books', 'btree (year)', unique=True)",
        "op.rename_index('a', 'b', 'books')",
        "op.remove_index('c', 'books')",
    )
    assert sql("SELECT oid FROM pg_class WHERE relkind = 'i' ORDER BY 1") == before
    assert pauses == []


def test_an_index_is_renamed_and_two_change_names(upgrade: Upgrade, standing: Found) -> None:
    upgrade(BY_YEAR, "op.build_index('b', 'books', 'btree (title)')")
    upgrade("op.rename_index('ix', 'a', 'books')")
    assert standing() == {"a": "btree (year)", "b": "btree (title)"}
    upgrade("op.rename_index('a', 'b', 'books', 'btree (year)')")
    assert standing() == {"a": "btree (title)", "b": "btree (year)"}


def test_an_index_that_should_be_renamed_and_is_gone_is_built(upgrade: Upgrade, standing: Found) -> None:
    upgrade("op.rename_index('a', 'b', 'books', 'btree (year)')")
    assert standing() == {"b": "btree (year)"}


def test_statistics_of_what_an_index_computes(upgrade: Upgrade, sql: Sql) -> None:
    upgrade(BY_TITLE)
    assert [row["n_distinct"] for row in sql("SELECT n_distinct FROM pg_stats WHERE tablename = 'ix'")] == [-1]


def test_an_invalid_leftover_is_dropped_and_built_again(
    upgrade: Upgrade, sql: Sql, standing: Found, caplog: pytest.LogCaptureFixture
) -> None:
    sql("INSERT INTO books VALUES (99, 'a', 1);; SELECT 1")
    with pytest.raises(Exception, match="could not create unique index"):
        sql("CREATE UNIQUE INDEX CONCURRENTLY ix ON books (year)")
    assert standing() == {"ix": "INVALID"}
    with caplog.at_level("INFO", logger="service.migrations"):
        upgrade(BY_YEAR)
    assert standing() == {"ix": "btree (year)"}
    assert "dropped an INVALID leftover, ix" in caplog.messages
    assert "building ix on books" in caplog.messages


class Broken(Exception):
    """A migration was killed here."""


ACTS = {
    "build": ([], [BY_TITLE], {"ix": "btree (lower(title), id)"}),
    "replace": ([BY_YEAR], [BY_TITLE], {"ix": "btree (lower(title), id)"}),
    "remove": ([BY_YEAR], [REMOVED], {}),
    "rename": ([BY_YEAR], ["op.rename_index('ix', 'a', 'books', 'btree (year)')"], {"a": "btree (year)"}),
    "change names": (
        [BY_YEAR, "op.build_index('b', 'books', 'btree (title)')"],
        ["op.rename_index('ix', 'b', 'books', 'btree (year)')", "op.build_index('c', 'books', 'btree (id, year)')"],
        {"b": "btree (year)", "c": "btree (id, year)", "ix": "btree (title)"},
    ),
}


@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("act", ACTS)
def test_broken_off_at_any_step_and_run_again(
    upgrade: Upgrade, standing: Found, monkeypatch: pytest.MonkeyPatch, act: str, after: bool
) -> None:
    before, now, wanted = ACTS[act]
    run = building._Work._run  # noqa: SLF001
    back = [*(f"op.remove_index('{name}', 'books')" for name in wanted), *before]
    upgrade(*before or ["pass"])
    for step in range(20):
        steps = iter(range(step + 1))

        def broken(work: Any, statement: str, steps: Iterator[int] = steps, last: int = step) -> None:
            here = next(steps)
            if here == last and not after:
                raise Broken
            run(work, statement)
            if here == last:
                raise Broken

        monkeypatch.setattr(building._Work, "_run", broken)  # noqa: SLF001
        try:
            upgrade(*now)
        except Broken:
            monkeypatch.setattr(building._Work, "_run", run)  # noqa: SLF001
            upgrade("pass")
            assert standing() == wanted
        except StopIteration:
            raise AssertionError("the steps were not counted") from None
        else:
            break
        upgrade(*back)
    else:
        pytest.fail("there was no end")
    assert step > 0
    assert standing() == wanted


def test_a_build_waits_for_older_transactions_as_long_as_it_takes(
    standalone: Standalone, other: Bystander, sql: Sql, standing: Found
) -> None:
    standalone.revise("r1", BY_YEAR)
    other.does("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.does("SELECT 1 FROM pg_class")
    impatient = settings.load().model_copy(update={"migration_lock_timeout_ms": 50})
    running = threading.Thread(target=standalone.upgrade, args=(impatient,))
    running.start()
    until(lambda: sql(f"SELECT 1 {WAITING} AND now() - query_start > '0.2 s'"))
    other.does("COMMIT")
    running.join(30)
    assert standing() == {"ix": "btree (year)"}
    assert sql(f"SELECT 1 {BUILDING}") == []


def test_an_open_write_holds_nothing_up(upgrade: Upgrade, other: Bystander, standing: Found) -> None:
    upgrade(BY_YEAR, BY_YEAR.replace("'ix'", "'b'"))
    other.does("BEGIN")
    other.does("INSERT INTO books VALUES (1000, 'a', 1000)")
    upgrade("op.rename_index('ix', 'a', 'books')", "op.rename_index('a', 'b', 'books', 'btree (year)')")
    assert list(standing()) == ["a", "b"]


def test_the_old_index_serves_while_the_new_one_is_built(
    standalone: Standalone, other: Bystander, sql: Sql, standing: Found
) -> None:
    sql("CREATE INDEX ix ON books (year)")
    standalone.revise("r1", BY_TITLE)
    other.does("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.does("SELECT 1 FROM pg_class")
    running = threading.Thread(target=standalone.upgrade, args=(settings.load(),))
    running.start()
    until(lambda: sql(f"SELECT 1 {WAITING}"))
    assert standing()["ix"] == "btree (year)"
    other.does("COMMIT")
    running.join(30)
    assert standing() == {"ix": "btree (lower(title), id)"}


def test_a_name_that_somebody_holds_is_tried_again(
    upgrade: Upgrade, other: Bystander, standing: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(BY_YEAR)
    monkeypatch.setitem(building.IMPATIENT, "lock_timeout", "20ms")
    tries: list[float] = []

    def paused(_: Connection, seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 3:
            other.does("COMMIT")

    monkeypatch.setattr(building, "pause", paused)
    other.does("BEGIN")
    other.does("ALTER INDEX ix SET (fillfactor = 80)")
    upgrade("op.rename_index('ix', 'a', 'books')")
    assert len(tries) == 3
    assert list(standing()) == ["a"]


def test_the_sessions_settings_are_as_before(upgrade: Upgrade, sql: Sql, standalone: Standalone) -> None:
    shows = "assert op.get_bind().exec_driver_sql('SHOW lock_timeout').scalar() == '2s'"
    upgrade(shows, BY_YEAR, shows, REMOVED, shows)


async def test_in_a_transaction_of_the_callers_it_is_built_plainly(books: None, standalone: Standalone) -> None:
    standalone.revise("r1", "op.add_column('books', sa.Column('room', sa.Integer()))", BY_YEAR)
    standalone.revise("r2", BY_TITLE, "op.rename_index('ix', 'a', 'books')")
    engine = new_engine(standalone.url)

    def upgrade(connection: Connection) -> None:
        command.upgrade(Config(standalone.ini, stdout=io.StringIO(), attributes={"connection": connection}), "head")

    async with engine.connect() as connection:
        await connection.begin()
        await connection.run_sync(upgrade)
        assert [(row.name, row.words) for row in await connection.exec_driver_sql(INDEXES)] == [("a", "btree (lower(title), id)")]
        await connection.rollback()
        assert (await connection.exec_driver_sql(INDEXES)).all() == []
    await engine.dispose()


def test_a_lost_connection_is_no_sentence_of_ours(
    upgrade: Upgrade, sql: Sql, other: Bystander, standing: Found, standalone: Standalone
) -> None:
    standalone.revise("first", BY_YEAR)
    other.does("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.does("SELECT 1 FROM pg_class")
    failed: list[BaseException] = []

    def run() -> None:
        try:
            standalone.upgrade(settings.load())
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    running = threading.Thread(target=run)
    running.start()
    until(lambda: sql(f"SELECT pg_terminate_backend(pid) {WAITING}"))
    running.join(30)
    other.does("COMMIT")
    assert isinstance(failed[0], DBAPIError | SetupError)
    assert standing() == {"ix": "INVALID"}
    standalone.upgrade(settings.load())
    assert standing() == {"ix": "btree (year)"}


def until(holds: Callable[[], object]) -> None:
    """Wait for something, half a minute at most."""
    for _ in range(600):
        if holds():
            return
        threading.Event().wait(0.05)
    pytest.fail("it never came about")
