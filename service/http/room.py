"""How much room a route has for its body: its bytes, and the time that it may take to arrive.

Most routes have what the settings give to all. A route that takes files declares more by `takes`, and the layers around it, which
see a request before its route is known, find that by the path.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.types import Scope

from service.errors import SetupError
from service.http.route import routes
from service.settings import Settings

LEAST_BYTES_PER_SECOND = 16 * 1024
DIVIDE = "Send less at once; a batch can be divided."
TAKES_ROOM = "__takes_room__"
LONGER = "longer"
"""Where, in a request's state, stand the seconds that its body may take to arrive, beside those that all requests have."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Room:
    """What a body may need.

    Attributes:
        most: bytes.
        seconds: for it to arrive in, and one more for each `pace` bytes.
        pace: bytes.
        advice: what who sends more should do: a sentence.
    """

    most: int
    seconds: float
    pace: int = LEAST_BYTES_PER_SECOND
    advice: str = DIVIDE

    @property
    def longest(self) -> float:
        """Seconds that the largest body may take."""
        return self.seconds + self.most / self.pace


Measure = Callable[[Settings], Room]


def takes(room: Measure) -> Callable[[F], F]:
    """Declare the room of a POST route, by the settings. Its path must have no parameters."""

    def declared(endpoint: F) -> F:
        setattr(endpoint, TAKES_ROOM, room)
        return endpoint

    return declared


class Rooms:
    """The rooms of an application's routes, found at the first request with a body: then all of them are there.

    Attributes:
        usual: what a route has that declares none.
    """

    def __init__(self, settings: Settings) -> None:
        self.usual = Room(settings.body_bytes_most, settings.body_seconds)
        self._settings = settings
        self._declared: dict[str, Room] | None = None

    def declared(self, scope: Scope) -> Room | None:
        """The room that a request's route declares."""
        if scope["method"] != "POST":
            return None
        if self._declared is None:
            self._declared = {path: measure(self._settings) for path, measure in _found(scope["app"])}
        return self._declared.get(scope["path"])


def _found(app: FastAPI) -> Iterator[tuple[str, Measure]]:
    """The paths that declare a room."""
    for route in routes(app, "POST"):
        measure = getattr(route.endpoint, TAKES_ROOM, None)
        if measure is not None and "{" in route.path:
            raise SetupError(f"{route.path} declares the room of its body, and has parameters: the layers know it by its path.")
        if measure is not None:
            yield route.path, measure
