"""Settings handed on to child processes, by the environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from service.settings import Settings, variable


@contextmanager
def exported(settings: Settings) -> Iterator[None]:
    """Let processes started inside load the same settings."""
    before = dict(os.environ)
    os.environ.update(environment(settings))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def environment(settings: Settings) -> dict[str, str]:
    """The environment for a process that is to load the same settings."""
    return {**os.environ, **_variables(settings)}


def _variables(settings: Settings) -> dict[str, str]:
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {variable(name): _text(value) for name, value in values.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
