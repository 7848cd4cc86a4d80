"""The web page: static files that were built into the package."""

from __future__ import annotations

import asyncio
import mimetypes
from pathlib import Path

from litestar import Response, get
from litestar.params import FromPath

from seafloor.domain.errors import NotFound
from seafloor.http.requests import AnyRequest

WEB_DIR = Path(__file__).with_name("web")
# What other clients ask for and this server does not have: 404, never the page.
_NOT_PAGES = ("api/", "ajax-api/", "v1/", "version", "graphql", "get-artifact", "model-")
_YEAR_S = 365 * 24 * 3600
_MISSING = """<!doctype html><meta charset="utf-8"><title>Seafloor</title>
<h1>Seafloor is running, but its page was not built into this installation.</h1>
<p>The API answers (<a href="/api/openapi.json">description</a>). To get the page,
install Node.js 20 or newer and build it: <code>make web</code> in a checkout, or install from
source again.</p>
"""


def page_is_built() -> bool:
    """Whether this installation has the page."""
    return (WEB_DIR / "index.html").is_file()


@get(["/", "/{page_path:path}"], include_in_schema=False)
async def page(request: AnyRequest, page_path: FromPath[str] = "/") -> Response[bytes]:
    """A file of the page, or the page itself for its own addresses."""
    path = page_path.removeprefix("/")
    if path.startswith(_NOT_PAGES):
        raise NotFound(f"There is no {request.method} {request.url.path} here.")
    if not page_is_built():
        return Response(_MISSING.encode(), media_type="text/html")
    root = WEB_DIR.resolve()
    file = (root / path).resolve()
    if path and file.is_relative_to(root) and file.is_file():
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        hashed = path.startswith("assets/")
        cache = f"public, max-age={_YEAR_S}, immutable" if hashed else "no-cache"
    elif path.startswith("assets/"):
        raise NotFound(f"There is no {request.url.path} here.")
    else:
        file, kind, cache = root / "index.html", "text/html", "no-cache"
    content = await asyncio.to_thread(file.read_bytes)
    return Response(content, media_type=kind, headers={"Cache-Control": cache})
