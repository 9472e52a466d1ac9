"""An event: something that has happened in the cluster, for operators."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.part import Part, Prose, Short

MAX_EVENT_IDS = 50
"""The largest number of ids in an event; ``count`` has the whole number."""


class Event(Part):
    """Something that has happened. Nothing depends on events: some may be lost, such as at the end of a master."""

    id: str = ""
    """Its id in the stream of events, by which events are ordered; empty until it is there."""
    at: float
    """Seconds since the epoch, by the clock of the master that made it."""
    kind: Short
    """Such as ``agent.unreachable`` or ``task.failed``."""
    cell: int | None = None
    term: int | None = None
    ids: tuple[str, ...] = ()
    """What it is about: ids of agents, frameworks, tasks, roles or dead letters, at most MAX_EVENT_IDS."""
    count: int = 1
    """Number of things that it is about."""
    reason: Short = ""
    """The reason of a status of tasks, such as ``REASON_CONTAINER_LIMITATION_MEMORY``."""
    text: Prose = ""
    """One line for people."""
    data: dict[str, str | int | float] = Field(default_factory=dict)
