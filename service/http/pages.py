"""Pages for people: Swagger at /docs, its assets served from here and not from a CDN; and a page for each type of problem."""

import sys
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from service.errors import NotFound
from service.http.problems import PAGES

ASSETS = "/docs/assets"
PLACES = (Path(__file__).parents[2] / "docs" / "problems", Path(sys.prefix) / "share" / "shelfmark" / "problems")
"""A checkout has the pages among its docs, an installed package beside its data."""


def install(app: FastAPI) -> None:
    """Add /docs and the problems' pages to an application that was made without them."""
    texts = {path.stem: path.read_text() for place in PLACES for path in place.glob("*.md")}
    folder = Path(str(files("fastapi_offline").joinpath("static")))
    app.mount(ASSETS, StaticFiles(directory=folder), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=app.openapi_url or "/openapi.json",
            title=f"{app.title}: the API",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url="data:,",
        )

    @app.get(f"{PAGES}/{{slug}}", include_in_schema=False)
    def page(slug: str) -> PlainTextResponse:
        if slug not in texts:
            raise NotFound(f"No problem is called {slug!r}. There are {', '.join(sorted(texts))}.")
        return PlainTextResponse(texts[slug])
