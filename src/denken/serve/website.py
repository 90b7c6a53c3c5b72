"""The page as files over HTTP: what web/ was built into, under the addresses that the page itself understands.

What is served is what lies in `page/` beside this file, read once and found by its name in that listing, so that no
address leads anywhere else. Files under `assets/` have their hash in their name and are kept for good; everything else
is asked for again each time and answered by "not modified". Not covered: what the page does, and how it is built
(`hatch_build.py`); where it was not built, a plain page says so.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from denken.serve.guard import WORKER_POLICY

# The script in the page tells these apart; each is answered with index.html.
ADDRESSES = ("/", "/c/{conversation}", "/library", "/runs", "/runs/{name}", "/usage", "/shared/{token}")
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".woff": "font/woff",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
}
# The others are compressed already.
SHRINKS = {".html", ".js", ".css", ".svg", ".webmanifest", ".ttf", ".wasm"}
# The worker that a model runs in on the device; its name is that of its source, web/src/device/model.worker.ts.
COMPUTES = "assets/model.worker-"
FOR_GOOD = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"

NOT_BUILT = (
    "This denken was installed without its page, because npm's registry could not be reached then. "
    "Install it again in the folder that holds pyproject.toml, with a connection: pip install -e ."
)
PLAIN = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>denken</title>
<h1>denken</h1><p>{NOT_BUILT}</p><p>The API at /v1/chat/completions works without it.</p></html>
"""


@dataclass(frozen=True)
class Part:
    """One file of the page. cache: what browsers are told about keeping it. computes: it may run WebAssembly."""

    content: bytes
    media_type: str
    shrinks: bool
    cache: str
    computes: bool = False

    @cached_property
    def etag(self) -> str:
        return f'W/"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    @cached_property
    def gzipped(self) -> bytes:
        return gzip.compress(self.content, mtime=0)


@cache
def parts() -> Mapping[str, Part]:
    """Every file of the page by its path, such as "index.html" and "assets/index-abc.js"; empty where it is not built.

    Read once: a page that is built anew while the server runs does not mix with the one that it serves.
    """
    folder = files("denken.serve") / "page"
    return {} if not (folder / "index.html").is_file() else dict(_read(folder, ""))


def _read(folder: Traversable, base: str) -> Iterator[tuple[str, Part]]:
    for entry in folder.iterdir():
        path = base + entry.name
        suffix = PurePosixPath(entry.name).suffix
        if entry.is_dir():
            yield from _read(entry, f"{path}/")
        elif suffix in MEDIA_TYPES:
            kept = FOR_GOOD if path.startswith("assets/") else ASK_AGAIN
            computes = path.startswith(COMPUTES)
            yield path, Part(entry.read_bytes(), MEDIA_TYPES[suffix], suffix in SHRINKS, kept, computes)


def add_routes(app: FastAPI) -> None:
    """The page's addresses, and every file of it under its own name. None of them needs a key: they hold no secret."""

    async def page(request: Request) -> Response:
        index = parts().get("index.html")
        return respond(request, index) if index else Response(PLAIN, 503, media_type="text/html")

    async def file(request: Request) -> Response:
        found = parts().get(request.url.path.removeprefix("/"))
        if found is None:
            raise HTTPException(404)
        return respond(request, found)

    for address in ADDRESSES:
        app.add_api_route(address, page, methods=["GET", "HEAD"], include_in_schema=False)
    for name in top_level():
        app.add_api_route(f"/{name}", file, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/assets/{name}", file, methods=["GET", "HEAD"], include_in_schema=False)


def top_level() -> list[str]:
    """The files that lie beside index.html: icons, the manifest, the service worker."""
    return sorted(path for path in parts() if "/" not in path and path != "index.html")


def respond(request: Request, part: Part) -> Response:
    """The file, or that the browser has it already; gzipped for those who take it. A HEAD gets the head alone."""
    headers = {"Cache-Control": part.cache, "ETag": part.etag}
    if part.computes:
        headers["Content-Security-Policy"] = WORKER_POLICY
    if part.shrinks:
        headers["Vary"] = "Accept-Encoding"
    if part.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = part.content
    if part.shrinks and "gzip" in request.headers.get("accept-encoding", ""):
        content = part.gzipped
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=part.media_type, headers=headers)
