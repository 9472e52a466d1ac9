"""The tasks that launch requests to the spawner describe. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.process.gpus import gpu_wish
from broker_mesos.containerizer.process.journal import Entry
from broker_mesos.containerizer.process.task_limits import task_limits

UNUSABLE = (LookupError, TypeError, ValueError, AttributeError, OverflowError)
"""What is raised by a request that is none."""


def new_entry(request: list[Any]) -> Entry:
    """A task as its launch request describes it. Raises one of UNUSABLE for one that is none."""
    options = request[6] if len(request) > 6 else {}
    entry = Entry(request[1], options.get("limits"))
    entry.queue = request[4] if len(request) > 4 else ""
    entry.cgroup, entry.gpus = [], []
    if wanted := (options.get("limits") or {}).get("gpus"):
        entry.gpu_wish = gpu_wish(wanted)
    if entry.held:
        entry.held.pop("cpuset", None)  # the spawner chooses the CPUs
        entry.limits = task_limits(entry.held)
        user = options.get("user")
        entry.owner = None if user is None else ids_of(user)
    return entry


def ids_of(user: Sequence[Any]) -> Ids:
    """The ids in a request."""
    return Ids(int(user[0]), int(user[1]), tuple(map(int, user[2])))
