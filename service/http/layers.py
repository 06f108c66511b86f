"""Pure ASGI layers around the routes, in the order in which `service/app.py` puts them.

They see every request before the framework does, and every answer after it; none of them reads a body.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http import problems


class Answering:
    """Answers what nothing else answered: a mistake of the service, by a problem that tells nothing but the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        begun = False

        async def told(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, told)
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise  # half an answer is out: all that's left is to break off
            response = problems.of_mistake(Request(scope), error)
            await response(scope, receive, send)


class Heading:
    """Answers HEAD as GET without the body, for every route that has a GET."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, bare)
