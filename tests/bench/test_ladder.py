"""The ladder itself: it finds a contestant that answers other rows, reads what wrk says, and compares within rounds."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from bench.ladder import agreeing, data, processes
from bench.ladder.__main__ import options
from bench.ladder.agreeing import Disagreement, compare, row_of, rows_of
from bench.ladder.contestants import BY_NAME, CACHED, W1, W2, W3, W4, W4_LIST, W4_ROW, W4_SAME
from bench.ladder.measuring import DEEP, Ladder, Options
from bench.ladder.profiling import sampled
from bench.ladder.results import Measured, Summary, Times, Where, summaries
from bench.ladder.wrk import Answered, parsed, program
from service.errors import SetupError
from tests.fixtures.servers import Servers

ROWS = 2000
NAME = f"shelfmark_ladder_{uuid4().hex[:12]}"
TOLD = """
Running 2s test @ http://127.0.0.1:8000
  1 threads and 32 connections
  2 requests in 2.00s, 1.00MB read
  Non-2xx or 3xx responses: 3
Requests/sec:   5000.00

ladder {"requests": 10000, "microseconds": 2000000, "refused": 3, "broken": 1, "p50": 6100, "p99": 12345, "most": 20000}
"""
AT = datetime(2024, 1, 1, 0, 0, 10, 500_000, tzinfo=UTC)
ROW = {"id": 7, "category": 1, "name": "Item", "price": "2.10", "created_at": "2024-01-01T00:00:10.500Z", "attrs": {"size": 7}}


@pytest.fixture(scope="module")
def ladder(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ladder]:
    """A small table in a database of its own, on the tests' server."""
    url = servers.database(NAME)
    made = Ladder(url, servers.redis, Options(rows=ROWS, contestants=("blog", "shelfmark")), tmp_path_factory.mktemp("logs"), print)
    made.prepare(servers.postgres, NAME)
    yield made
    asyncio.run(dropped(servers.postgres, NAME))


async def dropped(server: str, name: str) -> None:
    """Take a database away."""
    connection = await asyncpg.connect(data.plain(server))
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.close()


async def done(url: str, sql: str) -> None:
    """Run a statement."""
    connection = await asyncpg.connect(data.plain(url))
    await connection.execute(sql)
    await connection.close()


def test_a_contestant_that_answers_another_value_is_found(ladder: Ladder) -> None:
    one = BY_NAME["blog-no-index"]
    with ladder.serving(one) as (_, port):
        asyncio.run(agreeing.check(one, port, ladder.url, {}, ROWS))
        asyncio.run(done(ladder.url, f"UPDATE {data.UNINDEXED} SET price = price + 0.01 WHERE id = {ROWS}"))
        with pytest.raises(Disagreement, match=r"blog-no-index, /items/%d with 2000: row 0 is .*, and the database has"):
            asyncio.run(agreeing.check(one, port, ladder.url, {}, ROWS))


def test_a_contestant_that_answers_always_the_same_is_found(ladder: Ladder) -> None:
    one = replace(BY_NAME["constant"], rows=True)
    with ladder.serving(one) as (_, port), pytest.raises(Disagreement, match="constant, /items/%d with 1"):
        asyncio.run(agreeing.check(one, port, ladder.url, {}, ROWS))


@pytest.mark.parametrize("name", ["shelfmark", CACHED])
def test_who_has_a_row_is_told_so_and_what_is_kept_is_only_where_the_cache_is_on(ladder: Ladder, name: str) -> None:
    one = BY_NAME[name]
    with ladder.serving(one) as (_, port):
        asked = ladder.asked(one, W4_SAME, port)
        assert len(set(asked.tags)) == asked.greatest == 1000
        again = replace(one, workloads=(W4_ROW, W4_LIST))
        asyncio.run(agreeing.check(again, port, ladder.url, ladder.headers(one), ROWS))
        with httpx.Client(headers=ladder.headers(one)) as client:
            kept = client.get(f"http://127.0.0.1:{port}/v1/items/1").headers.get("X-Cache")
            assert kept == ("hit" if name == CACHED else None)


def test_who_never_says_304_is_found(ladder: Ladder) -> None:
    one = BY_NAME["blog"]
    with ladder.serving(one) as (_, port), pytest.raises(Disagreement, match="/items/%d with 1 was answered 200"):
        ladder.asked(one, W4_SAME, port)


def test_rows_are_the_same_at_each_filling_and_are_made_once(ladder: Ladder, servers: Servers) -> None:
    asked = f"SELECT md5(string_agg(i::text, ',' ORDER BY id)), count(DISTINCT category) FROM {data.ITEMS} AS i"
    ((digest, categories),) = asyncio.run(data.fetched(ladder.url, asked))
    assert categories == data.categories(ROWS) == 2
    again = f"{NAME}_again"
    other = Ladder(servers.database(again), None, Options(rows=ROWS), ladder.folder, print)
    try:
        other.prepare(servers.postgres, again)
        assert asyncio.run(data.fetched(other.url, asked))[0][0] == digest
        asyncio.run(done(other.url, f"DELETE FROM {data.ITEMS} WHERE id = 1"))
        other.prepare(servers.postgres, again)
        assert asyncio.run(data.fetched(other.url, f"SELECT count(*) FROM {data.ITEMS}"))[0][0] == ROWS - 1, "it was filled again"
    finally:
        asyncio.run(dropped(servers.postgres, again))


def test_values_may_be_spelled_in_several_ways() -> None:
    spelled = ROW | {"price": 2.1, "created_at": "2024-01-01T00:00:10.500000+00:00", "attrs": '{"size": 7}', "version": 1}
    assert row_of(ROW) == row_of(spelled) == row_of(ROW | {"price": Decimal("2.10"), "created_at": AT})


@pytest.mark.parametrize("answer", [[ROW, ROW], {"data": [ROW, ROW], "next": None}])
def test_rows_are_found_in_a_list_and_under_data(answer: object) -> None:
    assert rows_of(answer) == [row_of(ROW)] * 2


@pytest.mark.parametrize("answer", [None, {"data": None}, [{"id": 7}], {"detail": "Not Found"}, [ROW | {"price": "dear"}]])
def test_an_answer_without_rows_is_a_disagreement(answer: object) -> None:
    with pytest.raises(Disagreement):
        rows_of(answer)


@pytest.mark.parametrize("change", [{"id": 8}, {"name": "item"}, {"price": "2.11"}, {"attrs": {"size": 8}}, {"category": 2}])
def test_any_other_value_is_a_disagreement(change: dict[str, object]) -> None:
    with pytest.raises(Disagreement, match="row 1"):
        compare("somebody", [row_of(ROW), row_of(ROW | change)], [row_of(ROW)] * 2)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_row_too_few_or_too_many_is_a_disagreement(number: int) -> None:
    with pytest.raises(Disagreement, match=f"{number} rows, and the database has 2"):
        compare("somebody", [row_of(ROW)] * number, [row_of(ROW)] * 2)


def test_what_wrk_says_is_read() -> None:
    assert parsed(TOLD, 0.5) == Answered(10_000, 2.0, refused=3, broken=1, p50=6.1, p99=12.345, cpu=0.5)


def test_what_wrk_says_when_it_fails_is_told() -> None:
    with pytest.raises(SetupError, match="unable to connect"):
        parsed("unable to connect to 127.0.0.1:1 Connection refused")


def test_without_wrk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SetupError, match="apt-get install wrk"):
        program()


def test_ratios_are_taken_within_a_round() -> None:
    """The machine is half as fast in the second round, for both."""
    found = [
        measured(name, number, rate / (1 + number), server_us * (1 + number))
        for number in (0, 1)
        for name, rate, server_us in (("blog", 1000.0, 400.0), ("shelfmark", 5000.0, 100.0))
    ]
    blog, ours = summaries(found)
    assert [blog.ratio, blog.cheaper] == pytest.approx([1.0, 1.0])
    assert [ours.ratio, ours.cheaper, ours.rate, ours.spread] == pytest.approx([5.0, 4.0, 3750.0, 2 / 3])


def test_what_is_cached_is_compared_with_the_same_uncached() -> None:
    found = [measured(name, 0, rate, 100.0, W4_ROW) for name, rate in (("blog", 1000.0), ("shelfmark", 2000.0), (CACHED, 3000.0))]
    assert [one.ratio for one in summaries(found)] == pytest.approx([0.5, 1.0, 1.5])


def test_refusals_are_no_answers() -> None:
    answered = Answered(1000, 2.0, refused=400, broken=2, p50=1.0, p99=2.0)
    one = Measured.by(Where("shelfmark", W1, 32, 1, 0), answered, Times(server=0.1, database=0.05, load=0.05), 100.0)
    assert [one.rate, one.server_us, one.database_us, one.processors] == pytest.approx([300.0, 1000 / 6, 500 / 6, 0.1])


def measured(name: str, number: int, rate: float, server_us: float, workload: str = W1) -> Measured:
    """A measurement with nothing unusual about it."""
    answered = Answered(round(rate), 1.0, 0, 0, 1.0, 2.0)
    return Measured.by(Where(name, workload, 32, 1, number), answered, Times(server_us * round(rate) / 1e6, 0.0, 0.0), 1.0)


def test_processor_time_of_ended_children_counts() -> None:
    """As connections of the database come and go."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('ended', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert processes.tree(process.pid) == [process.pid]
        assert processes.used(process.pid) > 0.25
        process.communicate(b"\n")


def test_a_server_that_does_not_come_up_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    failing = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with pytest.raises(processes.Stopped, match=str(log)), processes.serving(failing, {}, 1, "/", log):
        pass
    assert "no such thing" in log.read_text()


def test_others_than_the_main_contestants_are_measured_at_32_connections() -> None:
    chosen = Options()
    assert chosen.at(BY_NAME["shelfmark"], 1) == (1, 4, 32, 128)
    assert chosen.at(BY_NAME["orm"], 1) == chosen.at(BY_NAME["shelfmark"], 2) == (32,)
    assert chosen.of(BY_NAME["shelfmark"], 2) == (W1, W2)
    assert {chosen.at(BY_NAME["shelfmark"], 1, each) for each in W4} == {(32,)}
    given, _ = options(["--connections", "4,8", "--contestants", "orm", "--workloads", "W3,deep"])
    assert given.at(BY_NAME["orm"], 1) == (4, 8)
    assert (given.contestants, given.workloads) == (("orm",), (W3, DEEP))


@pytest.mark.parametrize("strange", [["--contestants", "blog,rails"], ["--workloads", "W1,W9"], ["--profile", "rails"]])
def test_a_strange_name_is_refused(strange: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(strange)
    assert strange[1].split(",")[-1] in capsys.readouterr().err


def test_samples_count_for_a_frame_and_for_its_callers() -> None:
    told = sampled("main;serve;read 3\nmain;serve 1\n").splitlines()
    assert told[1:3] == ["   75.0%  read", "   25.0%  serve"]
    assert "  100.0%  serve" in told[told.index("with what it calls") :]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_two_climb_a_small_ladder(servers: Servers, tmp_path: Path) -> None:
    """From the command to the JSON that it writes."""
    workloads = ",".join((W1, W2, W3, *W4, DEEP))
    chosen = f"--rows {ROWS} --contestants blog,shelfmark,{CACHED} --workloads {workloads}"
    chosen += " --connections 2 --processes 1 --rounds 1 --seconds 1"
    file = tmp_path / "results.json"
    environment = {**os.environ, "BENCH_DATABASE_URL": servers.postgres, "BENCH_REDIS_URL": servers.redis}
    command = [sys.executable, "-m", "bench.ladder", *chosen.split(), "--json", str(file)]
    try:
        ended = subprocess.run(command, cwd=processes.ROOT, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
    finally:
        asyncio.run(dropped(servers.postgres, data.DATABASE))
    found = [Summary(**one) for one in json.loads(file.read_text())["summaries"]]
    places = {(one.contestant, one.workload) for one in found}
    plain = {(name, each) for name in ("blog", "shelfmark") for each in (W1, W2, W3, "page 1", "page 10,000")}
    again = {(name, each) for name in ("shelfmark", CACHED) for each in W4}
    assert places == plain | again | {(CACHED, W3)}
    assert all(one.rate > 0 and one.server_us > 0 and one.refused == one.broken == 0 for one in found)
    assert all(one.database_us > 0 for one in found if one.workload in {W2, W3}), "the database's time is seen"
    assert "page 20" in ended.stdout
