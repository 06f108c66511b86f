"""How many requests were answered, how, and in what time: by the template of the route, the method, the lane.

What is counted for one of these is kept as one object, so that counting is a few additions. Whatever clients send, there are few of
them: a path that no route has, and a method that none knows, is counted with all others of its kind.
"""

from collections import Counter
from collections.abc import Iterator

from starlette.types import Scope

from service.http.problems import route_of
from service.telemetry.counting import SECONDS, Family, Spread, Told

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
OTHER = "other"
ROUTES, EXPRESS = "routes", "express"
"""The lanes: through the framework's router, and past it."""
ANSWERS = "answers"
"""Where, in a request's state, its lane puts its `Answers`; absent: it went through the router."""
PROBLEM = "problem"
"""Where, in a request's state, stands what kind of problem it was answered with."""
CLASSES = ("gone", "1xx", "2xx", "3xx", "4xx", "5xx")
"""What is counted by: the hundreds of the status; nothing was answered to who had left."""
LABELS = ("route", "method", "lane")
REQUESTS = Family("shelfmark_requests_total", "counter", "Requests that were answered.", (*LABELS, "status"))
DURATIONS = Family(
    "shelfmark_request_seconds",
    "histogram",
    "Seconds from a request's head to the end of its answer; of a stream: to its beginning.",
    LABELS,
    SECONDS,
)
PROBLEMS = Family("shelfmark_problems_total", "counter", "Requests that were answered with a problem, by its type.", ("problem",))
FAMILIES = (REQUESTS, DURATIONS, PROBLEMS)


class Answers:
    """The answers of one route, method and lane.

    Attributes:
        classes: how many, for each of `CLASSES`.
        seconds: how long they took.
    """

    __slots__ = ("classes", "seconds")

    def __init__(self) -> None:
        self.classes = [0] * len(CLASSES)
        self.seconds = Spread()


class Requests:
    """The answers of one process."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, str], Answers] = {}
        self._problems: Counter[str] = Counter()

    def of(self, route: str, method: str, lane: str = ROUTES) -> Answers:
        """Where to count what a route answers: for whoever keeps it, and puts it into the state of its requests as `ANSWERS`."""
        key = route, method if method in METHODS else OTHER, lane
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = Answers()
        return found

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer; status 0: its client left before it began."""
        state = scope["state"]
        answers = state.get(ANSWERS)
        if answers is None:
            answers = self._answers.get((route_of(scope), scope["method"], ROUTES)) or self.of(route_of(scope), scope["method"])
        answers.classes[status // 100] += 1
        answers.seconds.add(seconds)
        if PROBLEM in state:
            self._problems[state[PROBLEM]] += 1

    def told(self) -> Told:
        """The numbers of `FAMILIES`."""
        for key, answers in self._answers.items():
            yield DURATIONS.name, key, answers.seconds.numbers()
            yield from self._by_class(key, answers)
        for slug, times in self._problems.items():
            yield PROBLEMS.name, (slug,), [times]

    def _by_class(self, key: tuple[str, str, str], answers: Answers) -> Iterator[tuple[str, tuple[str, ...], list[float]]]:
        for name, times in zip(CLASSES, answers.classes, strict=True):
            if times:
                yield REQUESTS.name, (*key, name), [times]
