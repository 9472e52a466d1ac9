"""How many examples hypothesis tries: all of them in `make test`, a fifth in `make check`."""

from __future__ import annotations

import os

QUICK = bool(os.environ.get("BMESOS_QUICK"))


def examples(number: int) -> int:
    """So many, or in a quick run a fifth of them."""
    return max(5, number // 5) if QUICK else number
