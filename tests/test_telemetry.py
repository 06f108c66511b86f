"""Log lines: where they go, how they look, and what they never show."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.settings import load
from service.telemetry import configure_logging

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Logging belongs to the whole process: other tests find it as they left it."""
    root, quiet = logging.getLogger(), [logging.getLogger(name) for name in ("uvicorn.access", "asyncio")]
    handlers, levels = root.handlers, [logger.level for logger in [root, *quiet]]
    yield
    root.handlers = handlers
    for logger, level in zip([root, *quiet], levels, strict=True):
        logger.setLevel(level)
    structlog.reset_defaults()


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
