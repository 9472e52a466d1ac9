"""The operator request for when and where the tasks of a job ran. The framework that runs the jobs answers it."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.jobs import JobRequest
from broker_mesos.core.api.request import Right
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.protocol.wire import register

MAX_TIMELINE = 5_000
"""The largest number of tasks in a timeline."""


class Timeline(Part):
    """The latest attempts at the indices of a job, as columns: the values at one place of each are of one task."""

    job_id: str
    total: int
    """Number of tasks of the job."""
    truncated: bool = False
    """Whether the columns have only some of the tasks: then they are spread evenly over the array."""
    since: float
    """Seconds since the epoch at which the job was submitted; the times in the columns are seconds after it."""
    states: tuple[str, ...] = ()
    """The states that the column ``state`` refers to."""
    agents: tuple[str, ...] = ()
    """The ids of agents that the column ``agent`` refers to."""
    index: tuple[int, ...] = ()
    attempt: tuple[int, ...] = ()
    state: tuple[int, ...] = ()
    agent: tuple[int, ...] = ()
    """Position in ``agents``; -1 for a task that has none (yet)."""
    claimed: tuple[float | None, ...] = ()
    """When an offer was chosen for the task."""
    started: tuple[float | None, ...] = ()
    ended: tuple[float | None, ...] = ()


@register
class GetTimeline(JobRequest):
    """Get when and where the tasks of a job ran, as columns; of a large job, those of tasks that are spread evenly over
    the array."""

    TYPE = "GET_TIMELINE"
    RIGHT = Right.VIEW
    ANSWER = Timeline
    job_id: Ident
    limit: int = Field(default=MAX_TIMELINE, ge=1, le=MAX_TIMELINE)
