"""What a service tells of itself: log lines, numbers, where a request's time went, spans.

Nothing here knows who counts what. Whatever is measured is an addition in memory, made by whoever does the work; it is put together
when somebody asks (`service/http/metrics.py`).
"""

from service.telemetry.lines import QUIET, SAME_LINES_MOST, configure_if_bare, configure_logging

__all__ = ["QUIET", "SAME_LINES_MOST", "configure_if_bare", "configure_logging"]
