"""What a route may ask for: `Uses[Books]` hands it a repository, `service_of(request)` everything that the application holds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from fastapi import Depends, Request
from redis.asyncio import Redis

from service.contract.cursor import Signer
from service.db import Database, Repository
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Service:
    """What one application holds, made in `service/app.py`."""

    settings: Settings
    database: Database
    signer: Signer
    redis: Redis | None = None


def service_of(request: Request) -> Service:
    """The application's own things."""
    return cast("Service", request.app.state.service)


R = TypeVar("R", bound=Repository[Any])

if TYPE_CHECKING:
    Uses = Annotated[R, "a repository"]
else:

    class Uses:
        """`Uses[Books]` as a parameter's type: the route is handed the repository."""

        def __class_getitem__(cls, repository: type[R]) -> Any:
            def made(request: Request) -> R:
                return repository(service_of(request).database)

            return Annotated[repository, Depends(made)]
