"""Runs of the faults: each test says which fault it is of, and the table is printed at the end, whatever became of them.

`--all-faults` ends a run badly where a test was skipped that this machine could have run; `--fault-table PAGE` writes the table
into a page of the docs, too. `make faults` does the first.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import redis
from tests.faults.figures import FAULT, LACKING, Figures, described
from tests.faults.redis import OwnRedis
from tests.faults.table import Row, drawn, put, rows

ENDS = ("passed", "failed", "error", "skipped")
HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a run of the faults may be asked for."""
    parser.addoption("--all-faults", action="store_true", help="fail where a fault was skipped that this machine could have run")
    parser.addoption("--chaos-seconds", type=float, default=180.0, help="for how long everything that jobs need is killed")
    parser.addoption("--import-rows", type=int, default=1_000_000, help="rows of the import whose worker is killed")
    parser.addoption("--fault-table", type=Path, help="a page that has a table of faults, to be written anew")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "fault(name, done, holds, needs): which fault a test is of; see tests/faults/figures.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have each report say of which fault it is. What is promised of times needs a machine of its own: these run by themselves."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)
        told = described(item)
        if told:
            item.user_properties.append(told)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose tool is missing."""
    marker = item.get_closest_marker(FAULT)
    need = marker.kwargs["needs"] if marker else None
    if need is None or need.is_met():
        return
    if need.to_be_had():
        item.user_properties.append((LACKING, "yes"))
    pytest.skip(need.reason)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Takes down what the test measures."""
    return Figures(request.node.user_properties)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that wasn't whole is none."""
    lacking = any(row.lacking for row in _found(session.config))
    if session.config.getoption("--all-faults", default=False) and lacking and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    found = _found(config)
    if not found:
        return
    terminalreporter.section("faults")
    terminalreporter.write(drawn(found))
    for row in found:
        if row.lacking:
            terminalreporter.write_line(f"{row.fault.name} wasn't run, and this machine could have: {'; '.join(row.figures)}")
    page = config.getoption("--fault-table", default=None)
    if page:
        put(page, found)


def _found(config: pytest.Config) -> list[Row]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return rows(report for end in ENDS for report in reporter.stats.get(end, [])) if reporter else []


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    """A Redis of the test's own, to be killed, stopped and emptied."""
    with redis.own_redis() as made:
        yield made
