"""The tasks that launch requests to the spawner describe. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_mesos.containerizer.credentials import Ids
from broker_mesos.containerizer.process.journal import Entry, Record


def new_entry(request: list[Any]) -> Entry:
    """A task as its launch request describes it. Raises TypeError, ValueError or LookupError for one that is none."""
    options = request[6] if len(request) > 6 else {}
    entry = Entry(request[1], options.get("limits"))
    entry.queue = request[4] if len(request) > 4 else ""
    return entry


def intent_of(request: list[Any]) -> Record:
    """The record of a task that is about to be started; that of one which is described wrongly names the task alone."""
    if len(request) > 6:
        try:
            return new_entry(request).intent_record()
        except (LookupError, TypeError, ValueError, AttributeError):
            pass
    return ["intent", request[1]]


def ids_of(user: Sequence[Any]) -> Ids:
    """The ids in a request."""
    return Ids(int(user[0]), int(user[1]), tuple(map(int, user[2])))
