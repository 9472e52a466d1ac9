"""Roles: whom resources are accounted to. ``*`` for everybody, or a path such as ``eng/db``, whose holdings
count in ``eng`` as well."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from broker_mesos.errors import InvalidInput

ANYBODY: Final = "*"
"""The role of those that name none. It is nobody's parent."""
MAX_ROLE: Final = 255

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]+")


def check_role(name: object) -> str:
    """The same name, or InvalidInput in one line: for names that come from a file, a message or a person."""
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
    """Nearest first, without the role itself: ``a/b/c`` → ``("a/b", "a")``."""
    return lineage(role)[1:]


def is_within(role: str, ancestor: str) -> bool:
    """Whether ``role`` is ``ancestor`` or below it."""
    return role == ancestor or role.startswith(ancestor + "/")


def topmost(roles: Iterable[str], below: str | None) -> list[str]:
    """The roles that have no other one of them between themselves and ``below`` (None: at all above)."""
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
