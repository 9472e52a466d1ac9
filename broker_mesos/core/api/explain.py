"""Why is it waiting, and would it run? Questions to a cell, and the answers of all cells put together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.request import Request, Route
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
    "minimum",
    "offered",
    "quota",
    "reserved",
    "resources",
    "sits",
    "too-small",
    "turn",
]
"""What stands in the way: the agent is not lent now; a constraint; operators took the agent
out of use; a refusal of the framework itself; the rest of its gang; gpus;
the smallest offer that it takes; somebody else's offer; quota; a reservation; what is in use; offers that
the framework let lie; the whole agent is smaller than the task; the turn of others."""


class AgentObstacle(Part):
    """What stands between a task and one agent. ``missing``: the resources that it is short of."""

    agent_id: str
    hostname: str = ""
    cell: int
    what: Obstacle
    message: str
    missing: Resources = Resources.EMPTY
    seconds: float | None = None
    """After so many seconds this alone is over."""

    def distance(self, need: Resources) -> float:
        """How much is missing, as the largest part of what a task needs."""
        whole = need.quantities()
        return max((amount / whole[name] for name, amount in self.missing.quantities().items()), default=0.0)


class Change(Part):
    """One change that would let it run. ``sure``: it was tried on the cell as it is."""

    message: str
    sure: bool = False
    rank: int = 0
    """Lower is less of a change."""


class Ahead(Part):
    """Somebody who is served before."""

    role: str
    framework_id: str
    share: float


class Placement(Part):
    """What one cell says of a task. ``would_run``: the next allocation offers it an agent."""

    cell: int
    would_run: bool
    agents: tuple[AgentObstacle, ...] = ()
    """The nearest to fitting come first."""
    truncated: bool = False
    """Whether there are more agents than ``agents`` lists: those that are further from fitting. ``counts``
    has all of them."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Agents by what stands in their way."""
    fits: int = 0
    """Tasks of the kind that the next allocation has room for."""
    together: int = 0
    """Tasks of a gang for which there is room at one moment, if not for all."""
    place: int | None = None
    """How many are served before, in the fair-share order; None if the framework gets no offers at all."""
    ahead: tuple[Ahead, ...] = ()
    unwanted: str = ""
    """Why the framework gets no offers at all."""
    changes: tuple[Change, ...] = ()
    unmatched: tuple[str, ...] = ()
    """Constraints that no agent of this cell satisfies."""
    largest: dict[str, int] = Field(default_factory=dict)
    """The most that one agent has of each resource that the task needs, in thousandths, among agents that
    satisfy the constraints."""


@register
class GetPlacement(Request):
    """Would the next allocation of this cell let a framework run a task of this shape? Changes nothing."""

    TYPE = "GET_PLACEMENT"
    ANSWER = Placement
    ROUTE = Route.CELLS
    framework_id: Ident
    shape: Shape
    ignore_filters: bool = False
    """As if it asked for this only now: that makes its refusals void, and what it has asked for before."""
    limit: int = Field(default=20, ge=0, le=500)
    """Agents to explain."""


class Explanation(Part):
    """Why something waits, of the whole cluster."""

    subject: str
    """What was asked about, in words."""
    reason: str
    """In one line."""
    change: str = ""
    """The one change that would let it run."""
    would_run: bool = False
    shapes: tuple[Shape, ...] = ()
    placements: tuple[tuple[Placement, ...], ...] = ()
    """For each shape, the cells' answers."""
    missing: tuple[int, ...] = ()
    """Cells that did not answer."""


@register
class Explain(Request):
    """Why does it wait? For a job, a task or a framework, whichever has this id."""

    TYPE = "EXPLAIN"
    ANSWER = Explanation
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    id: TaskId
    limit: int = Field(default=20, ge=0, le=500)


@register
class PlanJob(Request):
    """Would this job run, if it were submitted now? Submits nothing."""

    TYPE = "PLAN_JOB"
    ANSWER = Explanation
    ROUTE = Route.GATEWAY
    FOR_USERS = True
    spec: JobSpec
    limit: int = Field(default=20, ge=0, le=500)
