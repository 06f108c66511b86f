"""A real PostgreSQL and a real Redis, started for a person or a test run: no root, no installation, no container.

Only `shelfmark up` and the tests call `start`. Everything else uses configured URLs, or `attach`es to what already runs.
"""

from service.local.servers import Servers, attach, start, stop
from service.local.signing import secret

__all__ = ["Servers", "attach", "secret", "start", "stop"]
