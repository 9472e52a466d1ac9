"""Parses durations as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
# Compiled when they are used: most commands need none of them.
_AMOUNT = r"([0-9]{1,15}(?:\.[0-9]{0,15})?)\s*([smhd]?)"
_CLOCK = r"(?:([0-9]{1,9}):)?([0-5]?[0-9]):([0-5][0-9])"


def written(value: object) -> str:
    """A number or text as text; empty for what cannot be a number that somebody means."""
    try:
        return "" if isinstance(value, bool) else str(value)
    except ValueError:
        return ""  # a whole number of more digits than Python writes


def seconds_of(value: float | str) -> float | None:
    """Seconds: of a number of them, or of text such as ``90s``, ``5m``, ``1.5h``, ``2d``, ``MM:SS`` or
    ``HH:MM:SS``. None if it is not a length of time."""
    text = written(value).strip()
    if amount := re.fullmatch(_AMOUNT, text):
        return float(amount[1]) * _UNITS[amount[2]]
    if clock := re.fullmatch(_CLOCK, text):
        return 3_600.0 * int(clock[1] or 0) + 60 * int(clock[2]) + int(clock[3])
    return None
