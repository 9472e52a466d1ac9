"""The run times of simulated tasks: ``30s``, ``exp:30s`` (exponential, this mean), ``uniform:10s..50s``."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from broker_mesos.errors import InvalidInput

_TIME = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)?")
SAMPLES = 16
"""Number of tasks from which one is chosen for a task that is met on its way."""
_UNITS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def durations(text: str, rng: random.Random) -> Callable[[], float]:
    """A function that returns the run time of one task after the other, in seconds. Raises InvalidInput."""
    kind, colon, rest = text.strip().partition(":")
    low, dots, high = rest.partition("..")
    if not colon:
        fixed = _seconds(kind, text)
        return lambda: fixed
    if kind == "exp" and not dots:
        mean = _seconds(rest, text)
        return lambda: rng.expovariate(1.0 / mean) if mean else 0.0
    if kind == "uniform" and dots:
        least, most = _seconds(low, text), _seconds(high, text)
        if least <= most:
            return lambda: rng.uniform(least, most)
    raise _wrong(text)


def remaining(seconds: Callable[[], float], rng: random.Random) -> float:
    """The remaining run time of a task that is met on its way, in seconds: a long task is met more often, and at any
    time between its start and its end (renewal theory; Feller: An Introduction to Probability Theory and Its
    Applications II, XI.4)."""
    lengths = [seconds() for _ in range(SAMPLES)]
    return rng.choices(lengths, lengths)[0] * rng.random() if any(lengths) else 0.0


def _seconds(part: str, text: str) -> float:
    found = _TIME.fullmatch(part.strip())
    if found is None:
        raise _wrong(text)
    return float(found[1]) * _UNITS[found[2]]


def _wrong(text: str) -> InvalidInput:
    return InvalidInput(f"--duration {text[:64]!r}: write how long a task runs as 30s, exp:30s or uniform:10s..50s")
