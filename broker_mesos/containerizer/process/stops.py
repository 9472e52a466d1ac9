"""A task that the spawner ends because of a limit."""

from __future__ import annotations

from typing import NamedTuple

from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.proctree import Process


class Stop(NamedTuple):
    """A task to be ended, and the reason in one line."""

    entry: Entry
    reason: str
    processes: tuple[Process, ...] = ()
    """Processes of it that are killed at once, before others are looked for."""
