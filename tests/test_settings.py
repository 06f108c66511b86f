"""Settings: what they are called, what they are by default, what they refuse, and what they never show."""

import os
import re
from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from service import schema
from service.errors import SetupError
from service.settings import Section, Settings, load, section, variable

CUSTOMARY = {"database_url", "database_url_direct", "database_url_read", "redis_url", "web_concurrency"}
COUNTED = (
    "milliseconds days jobs times loans seconds connections rows records values processes port books requests searches streams "
    "bytes"
)
UNITS = re.compile(rf"\b({'|'.join(COUNTED.split())})\b", re.IGNORECASE)
SECTIONS: tuple[type[Section], ...] = (Settings, *schema.sections())
SECRET = "0123456789abcdef" * 2
LATER = "fedcba9876543210" * 2


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a `.env`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in SECTIONS for field in kind.model_fields])
def test_described(kind: type[Section], field: str) -> None:
    """Each has a sentence, and a number says what it counts."""
    found = kind.model_fields[field]
    assert found.description
    assert found.description.endswith(".")
    assert "  " not in found.description
    if found.annotation in {int, float}:
        assert UNITS.search(found.description), found.description


@pytest.mark.parametrize("field", [name for name, found in Settings.model_fields.items() if found.annotation in {int, float}])
def test_bounded(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number below zero or without sense is refused, by the name of its variable."""
    for value in ("-1", "nan", "many"):
        monkeypatch.setenv(variable(field), value)
        with pytest.raises(SetupError, match=f"{variable(field)}: "):
            load()


def test_defaults_are_safe() -> None:
    """Nothing needs to be set; the service listens to this machine only; every wait has an end."""
    found = Settings()
    assert found.host == "127.0.0.1"
    assert found.database_url is None
    assert found.redis_url is None
    assert found.secrets == ()
    assert found.page_size <= found.page_size_most
    assert found.lock_timeout_ms <= found.write_timeout_ms
    assert found.connect_timeout_seconds <= 5
    assert found.pool_wait_seconds <= 5


def test_variables() -> None:
    """The customary names where there are any, else the prefix."""
    for field in Settings.model_fields:
        expected = field.upper() if field in CUSTOMARY else f"SHELFMARK_{field.upper()}"
        assert variable(field) == expected


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("web_concurrency", "3", 3),
        ("port", "9000", 9000),
        ("pool_wait_seconds", "0.5", 0.5),
        ("directory", "/srv/shelf", Path("/srv/shelf")),
        ("log_level", "debug", "debug"),
        ("redis_url", "rediss://host:6380/1", SecretStr("rediss://host:6380/1")),
    ],
)
def test_the_environment_is_read(field: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable sets its field; what is given by name wins."""
    monkeypatch.setenv(variable(field), text)
    assert getattr(load(), field) == value
    default = Settings.model_fields[field].default
    assert getattr(load(**{field: default}), field) == default


def test_the_prefix_does_not_hold_for_customary_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """One name for one thing."""
    monkeypatch.setenv("SHELFMARK_DATABASE_URL", "postgresql://host/name")
    assert load().database_url is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
@pytest.mark.parametrize("field", ["database_url", "database_url_direct"])
def test_the_driver_is_named(field: str, scheme: str) -> None:
    """A bare postgresql:// means another driver to SQLAlchemy 2.1; the rest stays as it is."""
    found = getattr(load(**{field: f"{scheme}://me:p%40ss@host:5432/name?ssl=require"}), field)
    assert found.get_secret_value() == "postgresql+asyncpg://me:p%40ss@host:5432/name?ssl=require"


REFUSED = {
    "another database": ("DATABASE_URL", "mysql://me:hunter2@host/name", "must begin with postgresql://"),
    "another driver": ("DATABASE_URL", "postgresql+psycopg://me:hunter2@host/name", "must begin with postgresql://"),
    "no URL": ("DATABASE_URL_DIRECT", "hunter2", "must begin with postgresql://"),
    "a bad port": ("DATABASE_URL", "postgresql://me:x@host:hunter2/name", "can't be read"),
    "another cache": ("REDIS_URL", "memcached://:hunter2@host", "must begin with redis://"),
    "a bad port of Redis": ("REDIS_URL", "redis://host:hunter2/0", "can't be read"),
    "a bad number": ("REDIS_URL", "redis://host/0?db=hunter2", "can't be read"),
    "a short secret": ("SHELFMARK_SECRETS", f"{SECRET},hunter2", "32 characters or more"),
    "no number": ("SHELFMARK_PORT", "hunter2", "valid integer"),
    "no port": ("SHELFMARK_PORT", "65536", "less than or equal to 65535"),
    "no level": ("SHELFMARK_LOG_LEVEL", "hunter2", "'debug', 'info', 'warning' or 'error'"),
}


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED.values(), ids=REFUSED)
def test_wrong_values(name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the variable and the reason, never the value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SetupError) as refused:
        load()
    assert f"{name}: " in str(refused.value)
    assert reason in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__
    assert "Value error" not in str(refused.value)


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody corrects one line only to learn of the next."""
    monkeypatch.setenv("SHELFMARK_PORT", "0")
    monkeypatch.setenv("WEB_CONCURRENCY", "0")
    with pytest.raises(SetupError) as refused:
        load()
    assert len(str(refused.value).splitlines()) == 3


def test_sizes_that_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both variables are named."""
    monkeypatch.setenv("SHELFMARK_PAGE_SIZE", "300")
    with pytest.raises(SetupError, match="SHELFMARK_PAGE_SIZE is larger than SHELFMARK_PAGE_SIZE_MOST"):
        load()


def test_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list, the newest first; spaces around the commas don't count."""
    monkeypatch.setenv("SHELFMARK_SECRETS", f" {LATER} , {SECRET},")
    assert load().signing() == (LATER.encode(), SECRET.encode())


@pytest.mark.parametrize("empty", ["", ",", " , "])
def test_no_secrets(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the variable, and how to make one."""
    monkeypatch.setenv("SHELFMARK_SECRETS", empty)
    with pytest.raises(SetupError, match=r"SHELFMARK_SECRETS is not set.*openssl rand -hex 32"):
        load().signing()


def test_nothing_secret_is_shown() -> None:
    """Neither as text nor as JSON."""
    given = {"database_url": "postgresql://me:hunter2@host/name", "redis_url": "redis://:hunter2@host"}
    found = load(**given, database_url_direct=given["database_url"], secrets=f"hunter2{SECRET}")
    assert "hunter2" not in repr(found) + str(found) + found.model_dump_json() + str(found.model_dump())


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_variable_set_to_nothing(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as not set: `DATABASE_URL=` in a `.env` is how people take a setting away."""
    monkeypatch.setenv(variable(field), "")
    assert getattr(load(), field) == Settings.model_fields[field].default


def test_env_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read in the working directory; the environment wins; what it holds for others is left alone."""
    lines = ["SHELFMARK_PORT=9001", "SHELFMARK_PAGE_SIZE=7", "DATABASE_URL=postgresql://host/of_file", "POSTGRES_PASSWORD=x"]
    (directory / ".env").write_text("\n".join(lines))
    monkeypatch.setenv("SHELFMARK_PORT", "9002")
    found = load()
    assert (found.port, found.page_size) == (9002, 7)
    assert found.database_url == SecretStr("postgresql+asyncpg://host/of_file")
    assert "POSTGRES_PASSWORD" not in os.environ


def test_an_env_file_that_is_no_text(directory: Path) -> None:
    """It ends in a sentence."""
    (directory / ".env").write_bytes(b"SHELFMARK_PORT=\xff")
    with pytest.raises(SetupError, match=r"^\.env can't be read: it is not UTF-8"):
        load()


class Fines(Section):
    """Settings as a table file declares them."""

    model_config = SettingsConfigDict(env_prefix="SHELFMARK_FINES_")

    most: int = Field(5, ge=1)
    """Fines at the most."""


def test_a_section_is_read_by_its_own_prefix(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment and from `.env`, like all others."""
    (directory / ".env").write_text("SHELFMARK_FINES_MOST=7")
    assert section(Fines).most == 7
    monkeypatch.setenv("SHELFMARK_FINES_MOST", "8")
    monkeypatch.setenv("SHELFMARK_MOST", "9")
    assert section(Fines).most == 8
    assert section(Fines, most=6).most == 6
    assert variable("most", Fines) == "SHELFMARK_FINES_MOST"


def test_a_section_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its value can't be used."""
    monkeypatch.setenv("SHELFMARK_FINES_MOST", "hunter2")
    with pytest.raises(SetupError, match=r"SHELFMARK_FINES_MOST: .*valid integer"):
        section(Fines)


def test_settings_stay_as_they_are() -> None:
    """They are passed around: nobody may change them for the others."""
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]
