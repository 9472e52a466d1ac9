"""The findings of a diagnosis: each is one line, with advice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from broker_mesos.core.model.part import Part

Level = Literal["ok", "warning", "error"]

MAX_NAMES = 5
"""Maximum number of ids that one finding lists."""


class Finding(Part):
    """One line of the report."""

    level: Level
    subject: str
    found: str
    advice: str = ""
    """What the operator should do; empty if nothing is to be done."""


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level among findings."""
    levels = {finding.level for finding in findings}
    return "error" if "error" in levels else "warning" if "warning" in levels else "ok"


def names(texts: Iterable[str]) -> str:
    """The first of these texts, and the number of the others."""
    listed = list(texts)
    more = f" and {len(listed) - MAX_NAMES} more" if len(listed) > MAX_NAMES else ""
    return ", ".join(listed[:MAX_NAMES]) + more
