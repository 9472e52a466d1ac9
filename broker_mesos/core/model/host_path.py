"""Paths of an agent's machine that its sandboxed tasks see, as settings name them."""

from __future__ import annotations

from typing import Final, NamedTuple

MODES: Final = ("ro", "rw")
MAX_PATH: Final = 1_024


class HostPath(NamedTuple):
    """A folder or file of the machine, and where sandboxed tasks see it."""

    source: str
    target: str
    mode: str
    """``ro`` or ``rw``."""


def parse_host_path(text: str) -> HostPath:
    """``PATH``, ``PATH:TARGET``, and either with ``:ro`` or ``:rw`` at its end. Raises ValueError."""
    *parts, last = text.split(":")
    mode = "ro"
    if last in MODES and parts:
        mode = last
    else:
        parts.append(last)
    if len(parts) > 2 or not all(_is_path(part) for part in parts):
        raise ValueError(f"{text[:80]!r}: write PATH[:TARGET][:ro|rw] with absolute paths, as in /data:rw")
    return HostPath(parts[0], parts[-1], mode)


def _is_path(path: str) -> bool:
    return path.startswith("/") and ".." not in path.split("/") and "\0" not in path and len(path) <= MAX_PATH
