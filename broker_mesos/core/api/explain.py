"""Operator requests that explain why something waits, or whether a job would run, and their answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.part import Ident, Part, TaskId
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.wire import register

Obstacle = Literal[
    "away",
    "constraint",
    "drain",
    "filter",
    "gang",
    "gpus",
    "isolation",
    "minimum",
    "offered",
    "quota",
    "reserved",
    "resources",
    "sits",
    "spread",
    "too-small",
    "turn",
]
"""The reason why an agent cannot run a task now.

- ``away``: the agent is not registered, or does not lend resources now.
- ``constraint``: the agent does not satisfy a constraint.
- ``drain``: operators have drained or deactivated the agent.
- ``filter``: the framework itself has refused the agent's resources for a while.
- ``gang``: there is no room for the other tasks of the gang.
- ``gpus``: the agent has gpus, and the framework does not accept agents with gpus.
- ``isolation``: the agent does not hold tasks to what the task demands.
- ``minimum``: the free resources are less than the smallest offer that the framework accepts.
- ``offered``: the resources are in an open offer to another framework.
- ``quota``: a limit or guarantee of a role prevents it.
- ``reserved``: the resources are reserved for another role.
- ``resources``: the resources are in use.
- ``sits``: the resources are in an open offer which the framework itself has not answered.
- ``spread``: as many of the tasks run on agents with its value of an attribute as may, or it does not have that
  attribute; see ``Shape.most``.
- ``too-small``: the whole agent is smaller than the task.
- ``turn``: other frameworks are served first.
"""


class AgentObstacle(Part):
    """Why one agent cannot run a task now. ``missing``: the resources that the agent is short of."""

    agent_id: str
    hostname: str = ""
    cell: int
    what: Obstacle
    message: str
    missing: Resources = Resources.EMPTY
    seconds: float | None = None
    """Time after which the obstacle ends without any change, in seconds; None if it does not."""
    kept: str = ""
    """The gang for which the resources that become free on the agent are kept, and for how long at most; empty if
    they are kept for none."""

    def distance(self, need: Resources) -> float:
        """The largest fraction of the needed amount of any resource that is missing; 0.0 if nothing is."""
        whole = need.quantities()
        return max((amount / whole[name] for name, amount in self.missing.quantities().items()), default=0.0)


class Change(Part):
    """One change that would let a task run. ``sure``: whether it was verified on a copy of the cell's state."""

    message: str
    sure: bool = False
    rank: int = 0
    """Order of the changes by effort: a smaller number is a smaller change."""


class Ahead(Part):
    """A framework that is served earlier under a role, and its share."""

    role: str
    framework_id: str
    share: float


class Placement(Part):
    """The explanation of one cell for a task. ``would_run``: whether the next allocation offers an agent for it."""

    cell: int
    would_run: bool
    agents: tuple[AgentObstacle, ...] = ()
    """Obstacles by agent; the agents that are nearest to fitting come first."""
    truncated: bool = False
    """Whether there are more agents than ``agents`` lists; those left out are further from fitting. ``counts``
    includes all agents."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Number of agents by ``Obstacle``."""
    fits: int = 0
    """Number of tasks of this shape for which the next allocation has room."""
    together: int = 0
    """Number of tasks of a gang for which there is room at the same time, if there is not room for all."""
    place: int | None = None
    """Number of frameworks that are served earlier in the order of shares; None if the framework receives no
    offers at all."""
    ahead: tuple[Ahead, ...] = ()
    """The frameworks that are served earlier."""
    unwanted: str = ""
    """Why the framework receives no offers at all; empty if it does."""
    changes: tuple[Change, ...] = ()
    unmatched: tuple[str, ...] = ()
    """Constraints that no agent of this cell satisfies."""
    unheld: tuple[str, ...] = ()
    """Words of the demand for isolation that no agent of this cell has."""
    largest: dict[str, int] = Field(default_factory=dict)
    """The largest amount that one agent has of each resource that the task needs, in thousandths, among the agents
    that satisfy the constraints."""


@register
class GetPlacement(Request):
    """Explain whether the next allocation of this cell offers a framework an agent for a task of this shape. It
    changes nothing."""

    TYPE = "GET_PLACEMENT"
    RIGHT = Right.VIEW
    ANSWER = Placement
    ROUTE = Route.CELLS
    framework_id: Ident
    shape: Shape
    ignore_filters: bool = False
    """Whether the shape is treated as a new demand of the framework, which clears its filters and replaces its
    earlier demand."""
    limit: int = Field(default=20, ge=0, le=500)
    """The largest number of agents that are explained."""


class Explanation(Part):
    """The explanation of the whole cluster why a job, task or framework waits."""

    subject: str
    """The subject of the request as text, such as a job with its name."""
    reason: str
    """The reason, in one line."""
    change: str = ""
    """The one change that would let it run, in one line; empty if it needs none."""
    would_run: bool = False
    shapes: tuple[Shape, ...] = ()
    placements: tuple[tuple[Placement, ...], ...] = ()
    """The answers of the cells, for each of ``shapes``."""
    missing: tuple[int, ...] = ()
    """Cells that did not answer."""


@register
class Explain(Request):
    """Explain why the job, task or framework with this id waits."""

    TYPE = "EXPLAIN"
    RIGHT = Right.VIEW
    ANSWER = Explanation
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    id: TaskId
    limit: int = Field(default=20, ge=0, le=500)


@register
class PlanJob(Request):
    """Explain whether a job would run if it were submitted now. It is not submitted."""

    TYPE = "PLAN_JOB"
    RIGHT = Right.VIEW
    ANSWER = Explanation
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    spec: JobSpec
    limit: int = Field(default=20, ge=0, le=500)
