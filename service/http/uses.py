"""What a route may ask for: `Uses[Books]` hands it a repository, `service_of(request)` everything that the application holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from fastapi import Depends, Request
from redis.asyncio import Redis

from service.cache.caching import Cache
from service.contract.cursor import Signer
from service.db import Database, Repository
from service.http.etags import Etags
from service.http.reading import Reader
from service.http.writing import Writer
from service.plans.ledger import Ledger
from service.settings import Section, Settings

K = TypeVar("K", bound=Section)
R = TypeVar("R", bound=Repository[Any])


@dataclass(frozen=True, slots=True)
class Service:
    """What one application holds, made in `service/app.py`.

    Attributes:
        cache: where answers are kept; None: nothing is.
        etags: makes and reads the ETags of rows.
        sections: the settings of table files, by their class.
        ledger: where refused questions are counted.
        readers: what reads each table, by its name.
        writers: what writes each in one statement.
    """

    settings: Settings
    database: Database
    signer: Signer
    redis: Redis | None = None
    cache: Cache | None = None
    sections: Mapping[type[Section], Section] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    etags: Etags = field(init=False)
    readers: dict[str, Reader] = field(default_factory=dict, init=False)
    writers: dict[str, Writer] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etags", Etags(self.signer.secrets))

    def section(self, kind: type[K]) -> K:
        """The settings that a table file declared."""
        return cast("K", self.sections[kind])

    def repository(self, kind: type[R]) -> R:
        """A repository over the database. One that names settings as its `section` is handed them too."""
        return repository(kind, self.database, self.section)


def repository(kind: type[R], database: Database, settings: Callable[[type[Any]], Any]) -> R:
    """A repository over a database.

    Args:
        kind: of repository.
        database: where its table is.
        settings: gives the settings that it names as its `section`.
    """
    made: Any = kind
    section = getattr(kind, "section", None)
    return cast("R", made(database, settings(section)) if section else made(database))


def service_of(request: Request) -> Service:
    """The application's own things."""
    return cast("Service", request.app.state.service)


if TYPE_CHECKING:
    Uses = Annotated[R, "a repository"]
else:

    class Uses:
        """`Uses[Books]` as a parameter's type: the route is handed the repository."""

        def __class_getitem__(cls, repository: type[R]) -> Any:
            def made(request: Request) -> R:
                return service_of(request).repository(repository)

            return Annotated[repository, Depends(made)]
