"""Refuses requests that change something and that a browser sends for a page of another site."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import Scope

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


def origin_problem(scope: Scope, *, required: bool) -> str:
    """Why a request is not taken, in one line; empty if it is. Browsers name the site of the page that sends a request
    (``Origin``, ``Sec-Fetch-Site``), and a page cannot change that; programs name none. ``required``: one of the two
    must be there, since the request shows who it is by a cookie, which browsers add by themselves."""
    if scope["method"] in SAFE_METHODS:
        return ""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
    if origin is not None:
        return "" if _host(origin) == headers.get(b"host", "").lower() else _foreign(origin)
    if site is not None:
        return "" if site in ("same-origin", "none") else _foreign(site)
    return "with a cookie the header Origin is needed; programs send a token instead" if required else ""


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _foreign(where: str) -> str:
    return f"a page of another site ({where[:80]}) may not use this server"
