"""The pages at / and /docs: files of page/, each named here, with headers that bar all else.

Nothing is built and nothing is loaded from another host. A script or a style inside the document,
an address elsewhere, a frame round the page: the browser refuses them, whatever a document holds.
"""

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response

FOLDER = Path(__file__).resolve().parent / "page"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
MODULES = (
    "api",
    "app",
    "bar",
    "box",
    "chart",
    "chips",
    "compare",
    "copy",
    "dom",
    "examples",
    "filters",
    "health",
    "hits",
    "keyboard",
    "problems",
    "search",
    "state",
    "texts",
    "theme",
    "trace",
    "why",
)
FILES = {
    "/": "index.html",
    "/page/app.css": "app.css",
    "/page/icon.svg": "icon.svg",
    **{f"/page/{name}.js": f"{name}.js" for name in MODULES},
    "/docs": "docs.html",
    "/docs/docs.js": "docs.js",
    "/docs/docs.css": "docs.css",
}
"""Address -> file: what is not listed is not served."""


def add_pages(app: FastAPI) -> None:
    """Serve `FILES`, outside of the API's description."""

    def page(name: str) -> Callable[[Request], Response]:
        def show(_: Request) -> Response:
            return FileResponse(
                FOLDER / name, media_type=_TYPES[Path(name).suffix], headers=HEADERS
            )

        return show

    for path, name in FILES.items():
        app.add_route(path, page(name), include_in_schema=False)
