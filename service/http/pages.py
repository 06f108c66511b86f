"""Pages for people: Swagger at /docs, its assets served from here and not from a CDN; and a page for each type of problem."""

import re
import sys
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from service.errors import NotFound
from service.http.problems import PAGES
from service.http.scopes import DOCS, Declared, needs, open_to_all

ASSETS = "/docs/assets"
OPENAPI = "/openapi.json"
POLICY = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PLACES = (Path(__file__).parents[2] / "docs" / "problems", Path(sys.prefix) / "share" / "shelfmark" / "problems")
"""A checkout has the pages among its docs, an installed package beside its data."""


def install(app: FastAPI) -> None:
    """Add /docs and the problems' pages to an application that was made without them."""
    texts = {path.stem: path.read_text() for place in PLACES for path in place.glob("*.md")}
    folder = Path(str(files("fastapi_offline").joinpath("static")))
    app.mount(ASSETS, StaticFiles(directory=folder), name="docs-assets")

    router = APIRouter(route_class=Declared)

    @router.get(OPENAPI, include_in_schema=False)
    @needs(DOCS)
    async def document() -> JSONResponse:
        return JSONResponse(app.openapi())

    swagger = get_swagger_ui_html(
        openapi_url=OPENAPI,
        title=f"{app.title}: the API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url="data:,",
    ).body
    allowed = {"Content-Security-Policy": policy(bytes(swagger))}

    @router.get("/docs", include_in_schema=False)
    @needs(DOCS)
    async def docs() -> HTMLResponse:
        return HTMLResponse(swagger, headers=allowed)

    @router.get(f"{PAGES}/{{slug}}", include_in_schema=False)
    @open_to_all
    async def page(slug: str) -> PlainTextResponse:
        if slug not in texts:
            raise NotFound(f"No problem is called {slug!r}. There are {', '.join(sorted(texts))}.")
        return PlainTextResponse(texts[slug])

    app.include_router(router)


def policy(page: bytes) -> str:
    """What a page may load and run: the service's own files, its own styles, and the scripts that stand in it, word for word."""
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
    return POLICY.format(scripts=hashes)
