"""How much is tried: a few examples in a test run, always the same; as many as there is time for on demand."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import hypothesis

HUNTING = bool(os.environ.get("BMESOS_FUZZ_ROUND"))
"""Whether `make fuzz` looks for new examples. It sets the seed of hypothesis for each round."""
FACTOR = 10
"""How many times more examples a round of `make fuzz` tries than a test run."""
tried = 0
"""Number of examples that were tried in this process."""


def fuzz(examples: int) -> Callable[[Any], Any]:
    """A decorator below ``@given`` that sets the number of examples of a test run."""
    return hypothesis.settings(
        max_examples=examples * FACTOR if HUNTING else examples,
        derandomize=not HUNTING,
        database=None,
        deadline=None,
        # Examples are small as they are, and a failure is wanted at once: to shrink one takes minutes.
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=False,
    )


def check_line(error: Exception) -> None:
    """An error is one line of a bounded length."""
    assert "\n" not in str(error) and len(str(error)) < 3_000, str(error)[:300]


def count() -> None:
    """Count an example."""
    global tried
    tried += 1
