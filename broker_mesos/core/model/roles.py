"""Roles, to which resources are accounted: ``*``, the default role, or a path such as ``eng/db``, whose resources
count for ``eng`` as well."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from broker_mesos.errors import InvalidInput

ANYBODY: Final = "*"
"""The role of frameworks that name none. It is the parent of no other role."""
MAX_ROLE: Final = 255
"""The longest name of a role, in characters."""

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]+")


def check_role(name: object) -> str:
    """Check a name that comes from a file, a message or a person, and return it. Raises InvalidInput with a message
    of one line."""
    if not isinstance(name, str):
        raise InvalidInput(f"a role is text such as eng/db, not {type(name).__name__}")
    if not 0 < len(name) <= MAX_ROLE:
        raise InvalidInput(f"a role of {len(name)} characters: give 1 to {MAX_ROLE}, for instance eng/db")
    if name != ANYBODY and (wrong := _wrong(name)):
        raise InvalidInput(f"{_show(name)} is not a role: {wrong}")
    return name


@lru_cache(maxsize=16384)
def lineage(role: str) -> tuple[str, ...]:
    """The role and its ancestors, nearest first: ``a/b/c`` → ``("a/b/c", "a/b", "a")``."""
    found = [role]
    while slash := role.rfind("/") + 1:
        role = role[: slash - 1]
        found.append(role)
    return tuple(found)


def ancestors(role: str) -> tuple[str, ...]:
    """The ancestors of a role, nearest first, without the role itself: ``a/b/c`` → ``("a/b", "a")``."""
    return lineage(role)[1:]


def is_within(role: str, ancestor: str) -> bool:
    """Whether ``role`` is ``ancestor`` or a role below it."""
    return role == ancestor or role.startswith(ancestor + "/")


def topmost(roles: Iterable[str], below: str | None) -> list[str]:
    """Those of the roles strictly below ``below`` (None: of all) that have no ancestor among them, in order."""
    within = {each for each in roles if below is None or (each != below and is_within(each, below))}
    return sorted(each for each in within if not any(above in within for above in ancestors(each)))


@lru_cache(maxsize=16384)
def _wrong(name: str) -> str:
    for segment in name.split("/"):
        if not segment:
            return "write names between single slashes, for instance eng/db"
        if segment in (".", ".."):
            return f"{segment} has no meaning here, write the whole path"
        if segment.startswith("-"):
            return "no part of it may begin with '-'"
        if not _SEGMENT.fullmatch(segment):
            return "use letters, digits, '_', '.' and '-' between slashes, or * alone"
    return ""


def _show(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:79] + "…")
