"""Every setting of the service: its name, unit, default and meaning. The only module that reads the environment.

Names carry the prefix `SHELFMARK_`, but for the four that every host sets by their customary names: `DATABASE_URL`,
`DATABASE_URL_DIRECT`, `REDIS_URL` and `WEB_CONCURRENCY`. A file `.env` in the working directory is read too; the environment
wins. A variable that is set to nothing counts as not set. `docs/reference/settings.md` and `.env.example` list the same settings,
and a test holds the three together. A table file may declare a `Section` of its own; it is read here too.
"""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from service.errors import SetupError

DRIVER = "postgresql+asyncpg://"
SECRET_CHARACTERS = 32
ORIGIN = r"https?://[a-z0-9.\-\[\]:]+"
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
    database_url_read: SecretStr | None = Field(None, validation_alias=Name("DATABASE_URL_READ", "database_url_read"))
    """The same database, no standby, as a role that only reads: behind a pooler settings are the role's. Unset: `DATABASE_URL`."""
    redis_url: SecretStr | None = Field(None, validation_alias=Name("REDIS_URL", "redis_url"))
    """The Redis server, as `redis://host:6379/0`. Unset: the one that `shelfmark up` runs, if it does."""
    web_concurrency: int = Field(1, ge=1, le=64, validation_alias=Name("WEB_CONCURRENCY", "web_concurrency"))
    """Web server processes."""

    secrets: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Secrets that sign cursors and API keys, of 32 characters or more, separated by commas. The first signs; all are valid."""
    public_read: Annotated[tuple[str, ...], NoDecode] = ()
    """Tables that everybody may read without an API key, separated by commas, as `books,authors`. Unset: none."""
    public_docs: bool = True
    """Whether everybody may read `/docs`, `/openapi.json` and each table's `:contract`. False: any API key is needed."""
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

    access_log_every: int = Field(100, ge=0)
    """One in so many requests is logged; 0: none. Those that fail (5xx but for 503), and slow ones, always are."""
    slow_request_ms: int = Field(1000, ge=1)
    """Milliseconds from which on a request counts as slow."""
    slow_question_ms: int = Field(200, ge=0, le=600_000)
    """Milliseconds in the database from which on a question counts as slow, and is remembered for `shelfmark slow`. 0: none is."""
    slow_plan_seconds: float = Field(60.0, ge=1, le=86_400)
    """Seconds after which the plan of a question that is slow again is looked up again."""
    metrics_directory: Path | None = None
    """Directory in which several processes add up what `/metrics` tells. Unset: `serve` makes one for as long as it runs."""
    tracing: bool = False
    """Whether spans of requests and statements go to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names."""
    drain_seconds: float = Field(1.0, ge=0, le=300)
    """Seconds for which connections are still taken after the signal to stop, while `/readyz` says no already."""
    keep_alive_seconds: int = Field(75, ge=1, le=3600)
    """Seconds that a client's idle connection is kept: more than the proxy in front keeps it."""

    hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names of the service, separated by commas; `*.example.org` too. Unset: this machine's if it listens there only, else any."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may call from a browser, as `https://app.example.org`, separated by commas. Unset: none."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks of the proxies in front, as `10.0.0.0/8`, separated by commas; `X-Forwarded-For` of others is ignored."""
    body_bytes_most: int = Field(2_097_152, ge=1024, le=1_073_741_824)
    """Bytes that the body of a request may have."""
    body_seconds: float = Field(10.0, gt=0, le=3600)
    """Seconds that the head of a request may take, and its body too, with a second more for each 16 KiB."""

    key_requests_per_second: float = Field(1000.0, ge=0, le=1_000_000)
    """Requests that one API key may make each second in the long run, over all processes; dear ones count more. 0: any."""
    key_requests_burst: int = Field(2000, ge=1, le=1_000_000)
    """Requests that one API key may make at once, before that rate holds."""
    address_requests_per_second: float = Field(100.0, ge=0, le=1_000_000)
    """Requests without an API key that one client address may make each second in the long run. 0: any."""
    address_requests_burst: int = Field(400, ge=1, le=1_000_000)
    """Requests without an API key that one client address may make at once, before that rate holds."""
    limit_slice: int = Field(100, ge=1, le=100_000)
    """Requests that one process may be ahead of Redis by, for each key or address; at most a tenth of the burst is used."""
    dear_requests_most: int = Field(32, ge=1, le=10_000)
    """Searches, batches and streamed exports that one process answers at the same time."""
    dear_requests_most_each: int = Field(8, ge=1, le=10_000)
    """Searches, batches and streamed exports that one process answers at the same time for one API key or address."""
    streams_most: int = Field(1000, ge=1, le=100_000)
    """Streams of events that one process holds open."""
    streams_most_each: int = Field(100, ge=1, le=100_000)
    """Streams of events that one process holds open for one API key."""

    upload_bytes_most: int = Field(1_073_741_824, ge=1024, le=1_099_511_627_776)
    """Bytes that an uploaded file may have."""
    upload_unpacked_most: int = Field(10_737_418_240, ge=1024, le=109_951_162_777_600)
    """Bytes that an uploaded file may have once it is unpacked."""
    upload_rejected_most: int = Field(100_000, ge=0)
    """Records of an uploaded file that may be rejected; with more of them nothing of it is imported."""
    upload_bytes_a_day: int = Field(10_737_418_240, ge=1024)
    """Bytes that one API key may upload within 24 hours, with what is kept of its rejects."""
    export_bytes_a_day: int = Field(10_737_418_240, ge=1024)
    """Bytes that the files may have which jobs export for one API key within 24 hours."""
    open_jobs_most_each: int = Field(10, ge=1, le=100_000)
    """Jobs of one API key that may be open at once, uploads under way among them."""
    spool_directory: Path | None = None
    """Directory that every process reads and writes, for uploads, rejects and exports. Unset: they are kept in the database."""
    spool_seconds: int = Field(604_800, ge=86_400, le=31_536_000)
    """Seconds for which uploads, rejects and exports are kept."""

    connection_budget: int | None = Field(None, ge=6, le=100_000)
    """PostgreSQL connections for all processes together; pool sizes come from it. Unset: 6 reads and 4 writes for each process."""
    job_workers: int = Field(1, ge=0, le=64)
    """Worker processes (`shelfmark worker`), as far as connections are counted."""
    job_slots: int | None = Field(None, ge=1, le=500)
    """Jobs that one worker runs at the same time. Unset: one less than its connections for writes."""
    job_grace_seconds: float = Field(20.0, ge=0, le=3600)
    """Seconds that a worker's jobs have to end after the signal to stop. What runs then is handed back, and goes on elsewhere."""
    job_keep_days: int = Field(7, ge=1, le=3650)
    """Days for which jobs are kept that have ended."""
    read_pool_size: int | None = Field(None, ge=1, le=500)
    """Connections that one process keeps for reads. Unset: its share of `SHELFMARK_CONNECTION_BUDGET`."""
    write_pool_size: int | None = Field(None, ge=1, le=500)
    """Connections that one process keeps for writes. Unset: its share of `SHELFMARK_CONNECTION_BUDGET`."""
    pooler: bool = False
    """Whether a pooler (PgBouncer) stands between: what is set for a session must then be set for the role."""
    connection_age_seconds: float = Field(1800.0, ge=1, le=604_800)
    """Seconds after which a connection is made anew, in the background."""
    pool_wait_seconds: float = Field(0.5, gt=0, le=60)
    """Seconds that a request may wait for a connection. One that would wait longer is answered 503 at once."""
    queue_most: int = Field(1000, ge=0, le=100_000)
    """Requests that may wait for a connection of one pool."""
    express_lane: bool = True
    """Whether GETs of tables are answered before FastAPI's router. What is answered is the same."""
    lag_ms: int = Field(100, ge=5, le=10_000)
    """Milliseconds by which a process may lag behind. While it lags more, requests are answered 503 at once."""
    request_timeout_seconds: float = Field(10.0, gt=0, le=3600)
    """Seconds in which a request must begin to be answered, else it is stopped and answered 503."""
    connect_timeout_seconds: float = Field(2.0, gt=0, le=60)
    """Seconds that making a connection may take."""
    read_timeout_ms: int = Field(2000, ge=10, le=600_000)
    """Milliseconds that one reading statement may run in the database."""
    write_timeout_ms: int = Field(5000, ge=10, le=600_000)
    """Milliseconds that one writing statement may run in the database."""
    driver_margin_ms: int = Field(1000, ge=10, le=60_000)
    """Milliseconds beyond these two after which a database that doesn't answer at all is given up."""
    lock_timeout_ms: int = Field(2000, ge=10, le=600_000)
    """Milliseconds that a statement waits for a lock."""
    idle_in_transaction_timeout_ms: int = Field(10_000, ge=100, le=600_000)
    """Milliseconds that a transaction may do nothing before the database ends it."""
    transaction_timeout_ms: int = Field(20_000, ge=100, le=3_600_000)
    """Milliseconds that a transaction may take before the database ends it. PostgreSQL 17 and newer have this limit."""
    migration_wait_seconds: float = Field(1800.0, gt=0, le=86_400)
    """Seconds that a migration waits for another one of the same database."""
    migration_lock_timeout_ms: int = Field(2000, ge=10, le=60_000)
    """Milliseconds that a statement of a migration waits for a lock at a time, as others then wait behind it."""
    migration_lock_seconds: float = Field(300.0, gt=0, le=86_400)
    """Seconds for which a migration that doesn't get a lock is tried again."""

    cache: bool = True
    """Whether answers of tables that say `cached=` are kept in Redis. It must be the same for every process."""
    cache_seconds_most: float = Field(3600.0, ge=1, le=86_400)
    """Seconds for which any answer is kept at the most, whatever its table says, or a 24th of a cursor's life if that is less."""
    cache_timeout_ms: int = Field(50, ge=5, le=1000)
    """Milliseconds that Redis may take to answer the cache. One that takes longer is left alone for a moment."""

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
    stream_most: int = Field(10_000, ge=1, le=1_000_000)
    """Rows that `.csv` and `.ndjson` stream. A question with more is refused: it is exported as a job."""
    cursor_seconds: int = Field(86_400, ge=60)
    """Seconds for which a cursor can be used."""
    sample_books: int = Field(2000, ge=0, le=1_000_000)
    """Invented books that `shelfmark up` puts into an empty database. 0: none."""

    @field_validator("database_url", "database_url_direct", "database_url_read")
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

    @field_validator("secrets", "public_read", "hosts", "cors_origins", "trusted_proxies", mode="before")
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

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(ORIGIN, origin) for origin in origins):
            raise ValueError("each must be an origin, as https://app.example.org: a scheme, a host, a port if it has one, no path")
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ip_network(network)) for network in networks)
        except ValueError:
            raise ValueError("each must be an address or a network, as 10.0.0.0/8") from None

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
                "SHELFMARK_SECRETS is not set, so API keys and cursors can't be signed. Put a random secret there "
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
