"""An application whose layers stand outside of what the framework puts around its router.

FastAPI's own (an answer to mistakes, a bound on bodies, its telemetry) are for applications that have none. Here the layers have
answered, bounded and counted before; a request that the express lane answers never comes to the others, and their six frames and a
wrapped `send` would be a tenth of it.
"""

from fastapi import FastAPI
from starlette.types import ASGIApp


class Layered(FastAPI):
    """FastAPI, inside of its `user_middleware`."""

    def build_middleware_stack(self) -> ASGIApp:
        """The layers, the outermost first; inside of them FastAPI's own, its router in the middle."""
        layers, self.user_middleware = self.user_middleware, []
        try:
            app = super().build_middleware_stack()
        finally:
            self.user_middleware = layers
        for cls, args, kwargs in reversed(layers):
            app = cls(app, *args, **kwargs)
        return app
