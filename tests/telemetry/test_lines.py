"""Log lines: where they go, how they look, and what they never show."""

import json
import logging
from collections import Counter

import pytest
import structlog

from service.settings import load
from service.telemetry import SAME_LINES_MOST, configure_logging

Captured = pytest.CaptureFixture[str]


def configure(**given: str) -> None:
    """Log by these settings, and by no `.env`."""
    configure_logging(load(_env_file=None, **given))


def lines(captured: Captured) -> list[dict[str, object]]:
    """The JSON lines on stderr; stdout must be empty."""
    out, err = captured.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


def test_json(capsys: Captured) -> None:
    """Away from a terminal each line is one object, from this service and from libraries alike."""
    configure()
    structlog.get_logger("service.shelf").info("a book\nfell", title="Ōe", table="books")
    logging.getLogger("a.library").warning("it took %d s", 3)
    ours, theirs = lines(capsys)
    assert ours.items() >= {"event": "a book\nfell", "title": "Ōe", "level": "info", "logger": "service.shelf"}.items()
    assert str(ours["timestamp"]).endswith("Z")
    assert theirs.items() >= {"event": "it took 3 s", "level": "warning", "logger": "a.library"}.items()


def test_text(capsys: Captured) -> None:
    """Asked for, it is text without colours where nobody sees them."""
    configure(log_format="text")
    structlog.get_logger("service.shelf").info("a book fell", title="It")
    said = capsys.readouterr().err
    assert "a book fell" in said
    assert "title=It" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_level(log_format: str, capsys: Captured) -> None:
    """What is less severe is left out, and so is each request of the web server."""
    configure(log_format=log_format, log_level="warning")
    structlog.get_logger("service.shelf").info("unheard")
    structlog.get_logger("service.shelf").warning("heard")
    configure(log_format=log_format, log_level="debug")
    structlog.get_logger("service.other").debug("heard as well")
    logging.getLogger("uvicorn.access").info("unheard")
    said = capsys.readouterr().err
    assert "unheard" not in said
    assert said.count("heard") == 2


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("name", ["structlog", "logging"])
def test_traces_show_no_values(log_format: str, name: str, capsys: Captured) -> None:
    """The trace names the error and the lines, but not what the variables held."""
    configure(log_format=log_format)
    log = structlog.get_logger("service.shelf") if name == "structlog" else logging.getLogger("service.shelf")
    try:
        lose("hunter" + str(2))
    except LookupError:
        log.exception("no such shelf")
    said = capsys.readouterr().err
    assert "LookupError" in said
    assert "7 characters" in said
    assert "lose" in said
    assert "hunter2" not in said


def lose(password: str) -> None:
    """Fail while a variable holds what must stay secret."""
    raise LookupError(f"{len(password)} characters")


def test_twice(capsys: Captured) -> None:
    """A second call replaces the first: no line is written twice."""
    configure()
    configure()
    structlog.get_logger("service.shelf").info("once")
    assert len(lines(capsys)) == 1


CANARY = "canary" + "7" * 8
SECRETS = [
    f"shelf_abcd1234_{CANARY}",
    f"Authorization: Bearer {CANARY}",
    f"{{'authorization': 'Basic {CANARY}'}}",
    f"postgresql+asyncpg://me:{CANARY}@host:5432/name",
    f"redis://:{CANARY}@host:6379/0",
    f"password={CANARY} host=x",
    f'{{"password": "{CANARY}"}}',
    f"PGPASSWORD='{CANARY}'",
    f"SHELFMARK_SECRETS={CANARY}",
    f"Cookie: {CANARY}; more",
    f"DETAIL:  Key (email)=({CANARY}) already exists.",
    f"DETAIL:  Key (a, b)=(1, {CANARY}) is not present in table x.",
    f"DETAIL:  Failing row contains (1, {CANARY}, null).",
]


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("said", SECRETS)
def test_secrets_are_taken_out(said: str, log_format: str, capsys: Captured) -> None:
    """Wherever they stand in a line: in its event, in a value, in a library's words, in a trace."""
    configure(log_format=log_format)
    log = structlog.get_logger("service.shelf")
    log.info(said)
    log.info("a value", told=said, nested={"deep": [said]})
    logging.getLogger("a.library").warning("it said %s", said)
    try:
        repeat(said)
    except LookupError:
        log.exception("a trace")
        logging.getLogger("a.library").exception("another")
    printed = capsys.readouterr().err
    assert printed.count("***") >= 5
    assert CANARY not in printed


def repeat(said: str) -> None:
    """Fail with these words."""
    raise LookupError(said)


def test_what_is_no_secret_stays(capsys: Captured) -> None:
    """The prefix of a key, the user of a database, the words of a refusal."""
    configure()
    words = "shelf_abcd1234 of me at postgresql://me@host:5432/name?ssl=require, as `shelfmark_test_5` has it: Key (id)"
    structlog.get_logger("service.shelf").info(words)
    (line,) = lines(capsys)
    assert line["event"] == words


def test_a_flood_of_requests_is_no_flood_of_lines(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many lines of an event are written each second; then one tells how many were left out."""
    now = [100.0]
    monkeypatch.setattr("service.telemetry.lines.time.monotonic", lambda: now[0])
    configure()
    for _ in range(500):
        structlog.get_logger("service.shelf").warning("refused", n=1)
        logging.getLogger("a.library").warning("it failed %d times", 3)
    structlog.get_logger("service.shelf").warning("another")
    now[0] += 1
    structlog.get_logger("service.shelf").warning("refused")
    events = Counter(str(line["event"]) for line in lines(capsys))
    assert events == {"refused": SAME_LINES_MOST + 1, "it failed 3 times": SAME_LINES_MOST, "another": 1, "lines left out": 2}
