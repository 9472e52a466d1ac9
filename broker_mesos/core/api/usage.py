"""Operator requests about what running tasks use. Answered by the agents that they run on."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Ident, Part, TaskId
from broker_mesos.core.protocol.wire import register

MAX_AGENTS = 100
"""Maximum number of agents that one request asks."""
MAX_TASKS = 1_000
"""Maximum number of tasks of one agent in a request."""


class TaskUsage(Part):
    """What a running task has used, as it was at most a few seconds ago."""

    cpu_seconds: float = Field(default=0.0, ge=0)
    """The CPU time of its processes so far, in seconds."""
    memory: int = Field(default=0, ge=0)
    """The memory of its processes, in bytes: without page cache that can be dropped."""


class TaskUsages(Part):
    """What running tasks use. A task that has ended, or whose agent does not answer in time, is not listed."""

    tasks: dict[str, TaskUsage] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """Agents that did not answer."""


@register
class ReadUsage(Request):
    """Read what tasks of this agent use."""

    TYPE = "READ_USAGE"
    RIGHT = Right.VIEW
    ANSWER = TaskUsages
    ROUTE = Route.AGENT
    task_ids: tuple[TaskId, ...] = Field(max_length=MAX_TASKS)


@register
class GetUsage(Request):
    """Get what running tasks use, from the agents that they run on."""

    TYPE = "GET_USAGE"
    RIGHT = Right.VIEW
    ANSWER = TaskUsages
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    agents: dict[Ident, tuple[TaskId, ...]] = Field(max_length=MAX_AGENTS)
    """By the id of each agent: the tasks, at most 1,000."""
