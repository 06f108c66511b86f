"""Logging: structured lines, as text on a terminal and as JSON elsewhere.

Traces never show the values of local variables, as structlog's defaults would: passwords and clients' data are among them. What
looks like a secret, or like a value in PostgreSQL's own words, is taken out of each line as the last thing before it is written.
Of lines that say the same, a handler writes so many a second and counts the others: a flood of requests is no flood of lines.
"""

import logging
import re
import sys
import time
from collections import Counter
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from service.settings import Settings

QUIET = ("uvicorn.access", "asyncio")
SAME_LINES_MOST = 20
"""Lines of the same event that are written each second."""
REDACTED = "***"
_NAMED = ("password", "passwd", "secret", "authorization", "cookie", "api_key", "apikey")
SECRETS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("shelf_",), re.compile(r"\b(shelf_[A-Za-z0-9]+)_[A-Za-z0-9_-]+"), rf"\1_{REDACTED}"),
    (("bearer", "basic"), re.compile(r"\b(Bearer|Basic)(\s+)[^\s\"',]+", re.IGNORECASE), rf"\1\2{REDACTED}"),
    (("://",), re.compile(r"(\w://[^\s:/@\"']*):[^\s@\"']+@"), rf"\1:{REDACTED}@"),
    (
        _NAMED,
        re.compile(rf"({'|'.join(_NAMED)})(s?\\?[\"']?\s*[=:]\s*)(\\?[\"']?)[^\s\"'&,;}})\\]+", re.IGNORECASE),
        rf"\1\2\3{REDACTED}",
    ),
    (("key (",), re.compile(r"(Key \(.*?\)=)\(.*?\)(?= (?:already|is|conflicts))"), rf"\1({REDACTED})"),
    (("failing row",), re.compile(r"(Failing row contains )\(.*?\)\."), rf"\1({REDACTED})."),
)
"""What to take out of a line: API keys but for their prefix, passwords, and rows as PostgreSQL's messages quote them. With each
stands what a line must have, in small letters, to be looked at: most have none of it, and a search costs more than writing them."""

log = structlog.get_logger(__name__)


def configure_logging(settings: Settings) -> None:
    """Log as the settings say, the lines of libraries too."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Damping())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *(_json() if as_json else _text()), redact],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def configure_if_bare() -> None:
    """Log without local variables also where a server was started without `shelfmark`, and nothing was configured."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                *_json(),
                redact,
            ]
        )


def redact(_logger: object, _method: str, line: str | bytes | MutableMapping[str, Any]) -> str:
    """The last processor: a line that is rendered already, without secrets."""
    text = str(line)
    small = text.lower()
    for signs, pattern, left in SECRETS:
        if any(sign in small for sign in signs):
            text = pattern.sub(left, text)
    return text


class Damping(logging.Filter):
    """Lets so many lines of one event pass each second; the first one after that tells how many weren't written."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._seen: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a line."""
        event = record.msg.get("event", "") if isinstance(record.msg, dict) else record.msg
        second = int(time.monotonic())
        if second != self._second:
            self._second, before, self._seen = second, self._seen, Counter()
            self._tell(before)
        self._seen[str(event)] += 1
        return self._seen[str(event)] <= SAME_LINES_MOST

    def _tell(self, before: Counter[str]) -> None:
        for event, count in before.items():
            if count > SAME_LINES_MOST:
                log.warning("lines left out", said=event, count=count - SAME_LINES_MOST)


def _json() -> list[Processor]:
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.StackInfoRenderer(),
        structlog.processors.ExceptionRenderer(transformer),
        structlog.processors.JSONRenderer(),
    ]


def _text() -> list[Processor]:
    plain = structlog.dev.plain_traceback
    return [
        structlog.processors.StackInfoRenderer(),
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain),
    ]
