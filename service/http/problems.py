"""Every refusal as RFC 9457 problem+json: what happened, what to do next, and the page that explains its type.

What isn't a `Problem` by itself becomes one here: the framework's own errors, the database's, and mistakes of the service, of which
the client learns nothing but the request's id.
"""

import re
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from service.db.faults import problem as database_problem
from service.db.wire import render
from service.errors import (
    IndexNotReady,
    Internal,
    InvalidBody,
    InvalidQuestion,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    Problem,
    UnsupportedMediaType,
)

MEDIA_TYPE = "application/problem+json"
PAGES = "/problems"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
UNPARSED = "There was an error parsing the body"  # FastAPI's own words
log = structlog.get_logger(__name__)

BY_STATUS: dict[int, type[Problem]] = {400: MalformedBody, 404: NotFound, 405: MethodNotAllowed, 415: UnsupportedMediaType}
DETAILS = {
    400: "The body can't be read as JSON. Send UTF-8 JSON with Content-Type: application/json.",
    404: "No route is at {path}. The routes are listed at /docs.",
    405: "{path} doesn't take {method}. See /docs for what it takes.",
    415: "Send the body as JSON, with Content-Type: application/json.",
}


def install(app: FastAPI) -> None:
    """Answer every error of an application with a problem."""
    app.add_exception_handler(Problem, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)


def answer(problem: Problem, instance: str) -> Response:
    """A problem as a response.

    Args:
        problem: what happened.
        instance: the request's id.
    """
    content = {
        "type": f"{PAGES}/{problem.slug}" if problem.slug else "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        **problem.extra,
    }
    headers = {**problem.headers, **({"Retry-After": str(problem.retry_after)} if problem.retry_after else {})}
    return Response(render(_sound(content)), problem.status, headers, MEDIA_TYPE)


def describe(app: FastAPI) -> None:
    """Put the problem document, which routes refer to, into an application's OpenAPI."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = schema()
        document["security"] = []
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path, item in document["paths"].items():
            for operation in item.values():
                _tell_refusals(path, operation["responses"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _tell_refusals(path: str, told: dict[str, Any]) -> None:
    """Say problem+json where FastAPI promises an error document of its own, and 404 where a path names a row."""
    if "application/json" in told.get("422", {}).get("content", {}):
        told["422"] = responses(InvalidQuestion)[InvalidQuestion.status]
    if "{" in path:
        told.setdefault("404", responses(NotFound)[NotFound.status])


def schema() -> dict[str, Any]:
    """The JSON schema of a problem document."""
    text = {"type": "string"}
    return {
        "type": "object",
        "title": "Problem",
        "description": "What went wrong, and what to do next (RFC 9457).",
        "required": ["type", "title", "status", "detail", "instance"],
        "properties": {"type": text, "title": text, "status": {"type": "integer"}, "detail": text, "instance": text},
        "additionalProperties": True,
    }


def responses(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Problems as a route declares them in its OpenAPI."""
    told: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        before = told.get(kind.status, {}).get("description")
        told[kind.status] = {
            "description": f"{before}; {kind.title}" if before else kind.title,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return told


def instance_of(request: Request) -> str:
    """The id of a request, for its problem and for the log."""
    if not hasattr(request.state, "id"):
        request.state.id = f"urn:uuid:{uuid4()}"
    return str(request.state.id)


def route_of(scope: Scope) -> str:
    """The template of a request's route, as `/v1/books/{id}`, for the log: a path itself holds values."""
    included = scope.get("fastapi", {}).get("effective_route_context")  # FastAPI's own, with the prefix of the router
    return str(getattr(included or scope.get("route"), "path", "none"))


async def _known(request: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):
        raise error
    return _told(request, error)


def _answer(request: Request, problem: Problem) -> Response:
    """A problem as the response to a request, which remembers what kind of problem it was."""
    request.scope.setdefault("state", {})["problem"] = problem.slug or "none"
    return answer(problem, instance_of(request))


def _told(request: Request, error: Problem) -> Response:
    instance = instance_of(request)
    if error.status >= Internal.status and not isinstance(error, Overloaded | IndexNotReady):  # counted; logged when it begins
        log.warning("refused", problem=error.slug, route=route_of(request.scope), instance=instance, cause=repr(error.__cause__))
    return _answer(request, error)


async def _framework(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if isinstance(error.__cause__, Problem):  # a layer refused a body while the framework was reading it
        return _told(request, error.__cause__)
    response = _answer(request, _of_framework(error, request))
    response.headers.update(error.headers or {})
    if error.status_code == MethodNotAllowed.status:
        response.headers["Allow"] = ", ".join(_allowed(request))
    return response


def _of_framework(error: HTTPException, request: Request) -> Problem:
    """What the framework, or a route of one's own, refuses by status."""
    kind: type[Problem] = BY_STATUS.get(error.status_code) or type("Plain", (Problem,), _plain(error.status_code))
    if error.status_code in DETAILS and error.detail in {HTTPStatus(error.status_code).phrase, UNPARSED}:
        return kind(DETAILS[error.status_code].format(path=request.url.path, method=request.method))
    return kind(str(error.detail))


def _plain(status: int) -> dict[str, Any]:
    """A problem that has no page: RFC 9457 calls its type about:blank and its title the status's own phrase."""
    known = status in {one.value for one in HTTPStatus}
    return {"slug": "", "title": HTTPStatus(status).phrase if known else str(status), "status": status}


def _allowed(request: Request) -> list[str]:
    """The methods that a path has, of all its routes; Starlette names those of the first one."""
    routes = request.app.router.routes
    found = [method for method in METHODS if any(_matches(route, {**request.scope, "method": method}) for route in routes)]
    return [name for method in found for name in (("GET", "HEAD") if method == "GET" else (method,))]


def _matches(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is Match.FULL


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return _answer(request, _of_validation(error, request))


def _of_validation(error: RequestValidationError, request: Request) -> Problem:
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return MalformedBody(DETAILS[400])
    if any(one["loc"][:1] == ("body",) for one in found):
        sent = any(one["type"] != "missing" or one["loc"] != ("body",) for one in found)
        if sent and "json" not in request.headers.get("content-type", ""):
            return UnsupportedMediaType(DETAILS[415])
        errors = [{"member": _member(one["loc"][1:]), "message": _sentence(one["msg"])} for one in found]
        return InvalidBody("; ".join(f"{one['member']}: {one['message']}" for one in errors[:20]), errors=errors)
    errors = [{"parameter": _member(one["loc"][1:]), "message": _sentence(one["msg"])} for one in found]
    return InvalidQuestion("; ".join(f"{one['parameter']}: {one['message']}" for one in errors), errors=errors)


def _member(location: Any) -> str:
    return ".".join(map(str, location)) or "the body"


def _sentence(message: str) -> str:
    if "dictionary or object" in message:
        return "expected a JSON object"
    return message[:1].lower() + message[1:]


def of_mistake(request: Request, error: Exception) -> Response:
    """The answer to what nobody expected. The client learns the request's id, the log has the rest."""
    known = error if isinstance(error, Problem) else database_problem(error)
    if known:
        return _told(request, known)
    instance = instance_of(request)
    log.error("the service made a mistake", route=route_of(request.scope), instance=instance, exc_info=error)
    return _answer(request, Internal(f"The service's log has the details under {instance}."))


def _sound(content: Any) -> Any:
    """The same content without lone surrogates: what a client sent may stand in a detail, and must not break the answer."""
    if isinstance(content, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", content)
    if isinstance(content, dict):
        return {_sound(key): _sound(value) for key, value in content.items()}
    return [_sound(value) for value in content] if isinstance(content, list | tuple) else content
