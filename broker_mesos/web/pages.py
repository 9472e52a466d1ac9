"""Serves the dashboard: the built files in ``static``, below ``/ui/``. It uses the operator API and nothing else."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import RedirectResponse, Response

from broker_mesos.errors import NotFound

STATIC = Path(__file__).parent / "static"
"""The built dashboard; ``make ui`` writes it from the sources in the folder ``ui`` of the repository."""

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOREVER = "public, max-age=31536000, immutable"
"""Files whose names contain a hash of their content never change."""


class StaticFile(NamedTuple):
    """A file of the dashboard, as it is and compressed."""

    content: bytes
    compressed: bytes
    content_type: str


@lru_cache(maxsize=1)
def static_files() -> dict[str, StaticFile]:
    """The files of the dashboard, by name. Only those that its manifest lists are ever served."""
    names = json.loads((STATIC / "manifest.json").read_text(encoding="utf-8"))["files"]
    found: dict[str, StaticFile] = {}
    for name in names:
        content = (STATIC / name).read_bytes()
        found[name] = StaticFile(content, gzip.compress(content, mtime=0), _TYPES[Path(name).suffix])
    return found


def add_pages(app: FastAPI) -> None:
    """Serve the dashboard below ``/ui/``, and lead browsers there from ``/``."""

    @app.get("/", include_in_schema=False)
    @app.get("/ui", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/ui/", 307)

    @app.get("/ui/{path:path}", include_in_schema=False)
    async def page(path: str, http: HttpRequest) -> Response:
        files = static_files()
        if path in files and path != "index.html":
            return _response(http, files[path], _FOREVER if path.startswith("assets/") else "no-cache")
        if path.startswith("assets/"):
            raise NotFound(f"no such file of the dashboard: {path[:200]}; load the page again")
        # Every other path is a place in the dashboard, which its script reads.
        return _response(http, files["index.html"], "no-cache")


def _response(http: HttpRequest, file: StaticFile, caching: str) -> Response:
    headers = {**_HEADERS, "Cache-Control": caching, "Vary": "Accept-Encoding"}
    if "gzip" in http.headers.get("accept-encoding", ""):
        return Response(file.compressed, media_type=file.content_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.content_type, headers=headers)
