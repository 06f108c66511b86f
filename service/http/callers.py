"""Who asks: what a request's API key says of its bearer, for every layer and route after the one that reads the key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """The bearer of an API key, or nobody in particular.

    Attributes:
        key: the key's prefix, for limits, idempotency and the log; empty where no key was sent.
        scopes: what the bearer may do: `books:read`, `books:write`, `*:read`, `admin`.
        within: column -> the one value that rows must have there to be seen: the row scope. Empty: every row.
        public: those of the scopes that don't come from the key: everybody has them.
    """

    key: str = ""
    scopes: frozenset[str] = frozenset()
    within: Mapping[str, str] = field(default_factory=dict)
    public: frozenset[str] = frozenset()


NOBODY = Caller()


def caller_of(scope: Scope) -> Caller:
    """Who asks, as the layer that reads keys has found."""
    return cast("Caller", scope.get("state", {}).get("caller", NOBODY))
