"""Every setting of the service: its name, unit, default and meaning. The only module that reads the environment.

Names carry the prefix `SHELFMARK_`, but for the four that every host sets by their customary names: `DATABASE_URL`,
`DATABASE_URL_DIRECT`, `REDIS_URL` and `WEB_CONCURRENCY`. A file `.env` in the working directory is read too; the environment
wins. A variable that is set to nothing counts as not set. `docs/reference/settings.md` and `.env.example` list the same settings,
and a test holds the three together. A table file may declare a `Section` of its own; it is read here too.
"""

from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from service.errors import SetupError

DRIVER = "postgresql+asyncpg://"
SECRET_CHARACTERS = 32
READS_AS = "can't be read; a special character in the password is written as %40 or the like. It looks like "

Name = AliasChoices


class Section(BaseSettings):
    """Settings that belong together. A table file declares its own, with a prefix of their own, and is handed them.

    Made by `section()`, which reads the environment; `model_construct()` gives the defaults alone.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


K = TypeVar("K", bound=Section)


class Settings(Section):
    """What can be set, and what is so when nothing is."""

    model_config = SettingsConfigDict(env_prefix="SHELFMARK_")

    database_url: SecretStr | None = Field(None, validation_alias=Name("DATABASE_URL", "database_url"))
    """The PostgreSQL database, `postgresql://user:password@host:5432/name`. Unset: the one that `shelfmark up` runs, if it does."""
    database_url_direct: SecretStr | None = Field(None, validation_alias=Name("DATABASE_URL_DIRECT", "database_url_direct"))
    """The same database without a pooler in between, for migrations. Unset: `DATABASE_URL`."""
    redis_url: SecretStr | None = Field(None, validation_alias=Name("REDIS_URL", "redis_url"))
    """The Redis server, as `redis://host:6379/0`. Unset: the one that `shelfmark up` runs, if it does."""
    web_concurrency: int = Field(1, ge=1, le=64, validation_alias=Name("WEB_CONCURRENCY", "web_concurrency"))
    """Web server processes."""

    secrets: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Secrets that sign cursors, 32 characters or more each, separated by commas. The first, the newest, signs; all are valid."""
    directory: Path = Path(".shelfmark")
    """Where `shelfmark up` keeps its servers and their data."""
    host: str = "127.0.0.1"
    """Address that the web server listens on."""
    port: int = Field(8000, ge=1, le=65535)
    """Port that the web server listens on. `up` takes the next free one when it is taken; `serve` refuses to start."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severity that is logged."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """How log lines look: text, JSON, or text on a terminal and JSON elsewhere."""

    read_pool_size: int = Field(6, ge=1, le=500)
    """Connections that one process keeps for reads."""
    write_pool_size: int = Field(4, ge=1, le=500)
    """Connections that one process keeps for writes."""
    pool_wait_seconds: float = Field(1.0, gt=0, le=60)
    """Seconds that a request waits for a connection before it is answered 503."""
    connect_timeout_seconds: float = Field(2.0, gt=0, le=60)
    """Seconds that making a connection may take."""
    read_timeout_ms: int = Field(2000, ge=10, le=600_000)
    """Milliseconds that one reading statement may run in the database."""
    write_timeout_ms: int = Field(5000, ge=10, le=600_000)
    """Milliseconds that one writing statement may run in the database."""
    lock_timeout_ms: int = Field(2000, ge=10, le=600_000)
    """Milliseconds that a statement waits for a lock."""
    idle_in_transaction_timeout_ms: int = Field(10_000, ge=100, le=600_000)
    """Milliseconds that a transaction may do nothing before the database ends it."""

    page_size: int = Field(50, ge=1, le=1000)
    """Rows of a page when the client doesn't say `limit`."""
    page_size_most: int = Field(200, ge=1, le=1000)
    """Rows that a client may ask for with `limit`."""
    among_most: int = Field(100, ge=1, le=1000)
    """Values that one `__in` filter may list."""
    batch_most: int = Field(1000, ge=1, le=10_000)
    """Rows that one `:batch` may carry."""
    count_most: int = Field(10_000, ge=1, le=1_000_000)
    """Rows at which `count=capped` stops counting."""
    search_most: int = Field(1000, ge=1, le=10_000)
    """Rows that a search may find. One that finds more is refused."""
    cursor_seconds: int = Field(86_400, ge=60)
    """Seconds for which a cursor can be used."""
    sample_books: int = Field(2000, ge=0, le=1_000_000)
    """Invented books that `shelfmark up` puts into an empty database. 0: none."""

    @field_validator("database_url", "database_url_direct")
    @classmethod
    def _asyncpg(cls, url: SecretStr | None) -> SecretStr | None:
        """Name the driver: a bare postgresql:// means another one to SQLAlchemy 2.1."""
        if url is None:
            return None
        scheme, _, rest = url.get_secret_value().partition("://")
        if scheme not in {"postgres", "postgresql", "postgresql+asyncpg"}:
            raise ValueError("must begin with postgresql://")
        try:
            make_url(DRIVER + rest)
        except (ArgumentError, ValueError):  # its message may show a part of the password
            raise ValueError(READS_AS + "postgresql://user:password@host:5432/name") from None
        return SecretStr(DRIVER + rest)

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        from redis.connection import parse_url

        try:
            parse_url(url.get_secret_value())  # type: ignore[no-untyped-call]  # redis-py gives it no types
        except ValueError:
            raise ValueError(READS_AS + "redis://:password@host:6379/0") from None
        return url

    @field_validator("secrets", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("secrets")
    @classmethod
    def _long_enough(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(secret.get_secret_value()) < SECRET_CHARACTERS for secret in secrets):
            raise ValueError(f"each secret needs {SECRET_CHARACTERS} characters or more; `openssl rand -hex 32` makes one")
        return secrets

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.page_size > self.page_size_most:
            raise ValueError("SHELFMARK_PAGE_SIZE is larger than SHELFMARK_PAGE_SIZE_MOST")
        return self

    def signing(self) -> tuple[bytes, ...]:
        """The secrets that sign and check cursors, newest first.

        Raises:
            SetupError: none is set.
        """
        if not self.secrets:
            raise SetupError(
                "SHELFMARK_SECRETS is not set, so cursors can't be signed. Put a random secret there "
                "(`openssl rand -hex 32` makes one), the same for every process."
            )
        return tuple(secret.get_secret_value().encode() for secret in self.secrets)


def variable(field: str, kind: type[Section] = Settings) -> str:
    """The environment variable that sets a field, for messages and docs."""
    alias = kind.model_fields[field].validation_alias
    prefix = kind.model_config.get("env_prefix", "")
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"{prefix}{field.upper()}"


def load(**given: object) -> Settings:
    """Settings from the environment and `.env`; what is given by name wins.

    Raises:
        SetupError: a value can't be used; the message names the variable, never the value.
    """
    return section(Settings, **given)


def section(kind: type[K], **given: object) -> K:
    """A section of the settings, from the environment and `.env`; what is given by name wins.

    Raises:
        SetupError: a value can't be used; the message names the variable, never the value.
    """
    try:
        return kind(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"{_where(kind, found['loc'])}: {found['msg'].removeprefix('Value error, ')}"
            for found in error.errors(include_input=False)
        ]
        raise SetupError("The settings can't be used:\n  " + "\n  ".join(lines)) from None
    except UnicodeDecodeError:
        raise SetupError(".env can't be read: it is not UTF-8. Save it again in that encoding.") from None
    except OSError as error:
        raise SetupError(f".env can't be read: {error.strerror}. Correct its access rights, or remove it.") from None


def _where(kind: type[Section], location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "several together"
    return variable(name, kind) if name in kind.model_fields else name
