"""The state of a framework in a cell."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from broker_mesos.core.cell.state.offer_details import OfferDetails, ShapeKey
from broker_mesos.core.cell.state.offer_ends import OfferEnds
from broker_mesos.core.cell.state.reserved_portions import EMPTY
from broker_mesos.core.cell.state.task import Resend, Task
from broker_mesos.core.model.framework import DEMAND_ROLES, Demand, FrameworkInfo, Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import (
    FrameworkRecord,
    FrameworkStatus,
)


class Filter(NamedTuple):
    """A filter that hides every offer of an agent which is contained in the refused resources."""

    resources: Resources
    role: str
    until: float
    revocable: bool = False
    """Whether it hides slack only; if False, it hides everything but slack."""


class Framework:
    """A framework with its demand, filters, tasks and offers in this cell."""

    __slots__ = (
        "_demand",
        "_muted",
        "_state",
        "accepted",
        "announced",
        "completed",
        "consumers_checked_at",
        "declined",
        "disconnected_at",
        "filters",
        "gangs",
        "held",
        "ident",
        "info",
        "last_heartbeat_at",
        "offer_timeouts",
        "offer_timeouts_raised_at",
        "offered",
        "offers",
        "order",
        "placed",
        "promised",
        "registered_at",
        "since",
        "stale_heartbeats",
        "started_gangs",
        "tasks",
        "torn_down_at",
        "unacknowledged",
        "unanswered_rounds",
        "used",
        "wanting",
        "withdrawn",
    )

    def __init__(self, info: FrameworkInfo, order: int, completed: int) -> None:
        self.info = info
        self.ident = info.framework_id
        self.wanting: dict[str, Framework] = {}
        """The dictionary of the cell that contains this framework, by its id, while it may be sent offers."""
        self._state = FrameworkStatus.SUBSCRIBED
        self._muted = False
        self.gangs: tuple[str, ...] = ()
        """Names of the gangs of its demand, in the order of the demand."""
        self.announced: FrameworkStatus | None = None
        """Its state as operators were last informed; see ``changes.py``."""
        self.registered_at = 0.0
        self.disconnected_at: float | None = None
        self.torn_down_at: float | None = None
        self.since = 0.0
        """Cell time at which it entered its state, in seconds."""
        self.order = order
        """Number of the framework in the order of registration. Equal shares are ordered by it, rotated by cell."""
        self._demand = Demand(version=-1)
        self.accepted: Counter[ShapeKey] = Counter()
        """Number of tasks launched on offers that were made for this version of the demand, by shape."""
        self.promised: Counter[ShapeKey] = Counter()
        """Number of tasks for which open offers were made, by shape."""
        self.placed: dict[str, Counter[str]] = {}
        """Number of tasks that have not ended, by the name of their shape and by agent id; those without one are not
        counted."""
        self.started_gangs: set[str] = set()
        """Names of gangs of which tasks were launched since the current version of the demand was received."""
        self.unanswered_rounds = 0
        """Number of consecutive checks in which offers to the framework timed out."""
        self.offer_timeouts = 1
        """Time until its offers end, as a multiple of the offer timeout. It is raised when the framework answers too
        late."""
        self.offer_timeouts_raised_at = float("-inf")
        """Monotonic time at which ``offer_timeouts`` was last changed."""
        self.last_heartbeat_at: float | None = None
        self.stale_heartbeats = 0
        """Number of consecutive heartbeats whose demand was older than the known one."""
        self.consumers_checked_at = float("-inf")
        """Monotonic time at which the consumers of its queue were last counted."""
        self.declined = OfferEnds()
        """The offers that it has declined lately, by its reason."""
        self.withdrawn = OfferEnds()
        """The offers that the cell has withdrawn from it lately, by the cell's reason."""
        self.filters: dict[str, list[Filter]] = {}
        self.tasks: dict[str, Task] = {}
        self.offers: dict[str, OfferDetails] = {}
        self.held: dict[str, Resources] = {}
        """Used and offered resources in this cell by role."""
        self.used = EMPTY
        self.offered = EMPTY
        self.unacknowledged: dict[str, Resend] = {}
        self.completed: deque[Task] = deque(maxlen=completed)

    @property
    def wants(self) -> bool:
        """Whether the framework may be sent offers."""
        return self._state is FrameworkStatus.SUBSCRIBED and self._demand.wanted and not self._muted

    @property
    def state(self) -> FrameworkStatus:
        """The state of the subscription."""
        return self._state

    @state.setter
    def state(self, state: FrameworkStatus) -> None:
        self._state = state
        self.update_wanting()

    @property
    def demand(self) -> Demand:
        """The latest demand."""
        return self._demand

    @demand.setter
    def demand(self, demand: Demand) -> None:
        self._demand = demand
        self.gangs = tuple(dict.fromkeys(shape.gang for shape in demand.shapes or () if shape.gang))
        self.update_wanting()

    @property
    def muted(self) -> bool:
        """Whether its queue of offers has no consumer; the next heartbeat resets it."""
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        self._muted = muted
        self.update_wanting()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles under which the framework may be sent offers: those of its FrameworkInfo, unless its demand names
        others."""
        stated = self._demand.roles
        return stated if stated and DEMAND_ROLES in self.info.capabilities else self.info.roles

    def update_wanting(self) -> None:
        """Add the framework to ``wanting`` or remove it, as ``wants`` requires."""
        if self.wants:
            self.wanting[self.ident] = self
        else:
            self.wanting.pop(self.ident, None)

    def wants_in(self, role: str) -> bool:
        """Whether the framework may be sent offers under one of its roles."""
        if role in self.demand.suppressed:
            return False
        shapes = self.demand.shapes
        return shapes is None or any(each.role == role and self.missing(each) for each in shapes)

    def missing(self, shape: Shape) -> int:
        """Number of tasks of a shape of the demand for which nothing is offered yet."""
        kind = shape.key
        return max(0, shape.count - self.accepted.get(kind, 0) - self.promised.get(kind, 0))

    def place(self, task: Task) -> None:
        """Count a task of a named shape that has not ended."""
        self.placed.setdefault(task.shape, Counter())[task.agent_id] += 1

    def remove_placed(self, task: Task) -> None:
        """Do not count a task of a named shape any more."""
        by_agent = self.placed[task.shape]
        by_agent[task.agent_id] -= 1
        if not by_agent[task.agent_id]:
            del by_agent[task.agent_id]
            if not by_agent:
                del self.placed[task.shape]

    def refuses_until(
        self, agent_id: str, role: str, resources: Resources, now: float, *, revocable: bool = False
    ) -> float:
        """Monotonic time until which a filter hides this offer at least; 0 if none does. Filters that have all
        expired are removed."""
        filters = self.filters.get(agent_id)
        if filters is None:
            return 0.0
        over = 0
        for each in filters:
            if each.until <= now:
                over += 1
            elif each.role == role and each.revocable is revocable and each.resources.contains(resources):
                return each.until
        if over == len(filters):
            del self.filters[agent_id]
        return 0.0

    def record(self, cell_seconds: float) -> FrameworkRecord:
        """The record of the framework for the store at a cell time in seconds."""
        return FrameworkRecord(
            info=self.info,
            state=self.state,
            registered_at=self.registered_at,
            disconnected_at=self.disconnected_at,
            torn_down_at=self.torn_down_at,
            since=self.since,
            cell_seconds=cell_seconds,
        )
