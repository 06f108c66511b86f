"""Which servers a command talks to: the configured ones, else those of a running `shelfmark up`. Nothing is started here."""

from service.errors import SetupError
from service.local.servers import attach_database, attach_either
from service.settings import Settings


def database_url(settings: Settings, *, direct: bool = False) -> str:
    """The database.

    Args:
        settings: where it may be named.
        direct: without a pooler in between, for migrations.

    Raises:
        SetupError: none is configured, and none of `shelfmark up` runs.
    """
    configured = (settings.database_url_direct if direct else None) or settings.database_url
    if configured:
        return configured.get_secret_value()
    servers = attach_database(settings.directory)
    if servers is None:
        raise SetupError(
            f"DATABASE_URL is not set, and no PostgreSQL runs in {settings.directory}. Set DATABASE_URL to "
            "postgresql://user:password@host:5432/name, or start `shelfmark up`, which brings a database of its own."
        )
    return servers.database_url


def redis_url(settings: Settings) -> str | None:
    """The Redis server, or None where there is none; that of a running `shelfmark up` also while it has died there."""
    if settings.redis_url:
        return settings.redis_url.get_secret_value()
    if settings.database_url:
        return None  # a configured service starts and finds nothing of its own
    servers = attach_either(settings.directory)
    return servers.redis_url if servers else None
