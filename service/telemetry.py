"""Logging: structured lines, as text on a terminal and as JSON elsewhere.

Traces never show the values of local variables, as structlog's defaults would: passwords and clients' data are among them.
"""

import logging
import sys

import structlog
from structlog.typing import Processor

from service.settings import Settings

QUIET = ("uvicorn.access", "asyncio")


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
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *(_json() if as_json else _text())],
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
            ]
        )


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
