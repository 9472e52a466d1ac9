"""Credentials of registries, in the form of Docker's ``config.json``."""

from __future__ import annotations

import json


def check_registry_auth(text: str) -> None:
    """Check the credentials of registries. Raises ValueError with a line that does not show them."""
    try:
        auths = json.loads(text)["auths"]
        valid = isinstance(auths, dict) and all(isinstance(each, dict) for each in auths.values())
    except (ValueError, TypeError, LookupError, RecursionError):
        valid = False
    if not valid:
        raise ValueError('write JSON as in Docker\'s config.json: {"auths": {"HOST": {"auth": "..."}}}')
