"""What a cell knows: agents and frameworks. How resources pass between them: ``state.py``."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from broker_mesos.core.attributes import Constraint
from broker_mesos.core.cell.portions import EMPTY, laid_out, overlaid
from broker_mesos.core.cell.task import Resend, Task
from broker_mesos.core.lines import Lines
from broker_mesos.core.messages import (
    AgentInfo,
    Demand,
    FrameworkInfo,
    Holdings,
    Reservation,
    Shape,
    Usage,
)
from broker_mesos.core.records import (
    NO_HOLDINGS,
    NO_MAINTENANCE,
    AgentRecord,
    AgentState,
    FrameworkRecord,
    FrameworkState,
)
from broker_mesos.core.resources import Resources
from broker_mesos.errors import InvalidResources

if TYPE_CHECKING:
    from broker_mesos.core.cell.open_offer import OpenOffer

Kind = tuple[Resources, str, tuple[Constraint, ...], str, bool]
"""What tells shapes of a demand apart: ``Shape.kind``."""
NO_USAGE = Usage()


class Agent:
    """An agent, its session, and what of it is promised or in use."""

    __slots__ = (
        "applied",
        "asked",
        "attempt",
        "beat",
        "behind",
        "boot_id",
        "crowded",
        "free",
        "heard",
        "hidden_until",
        "hinted",
        "holdings",
        "ident",
        "info",
        "lines",
        "listed",
        "maintenance",
        "number",
        "offered",
        "offers",
        "registered_at",
        "reservations",
        "session",
        "slack",
        "slack_held",
        "state",
        "tasks",
        "total",
        "unreachable_at",
        "usage",
        "used",
    )

    def __init__(self, info: AgentInfo, holdings: Holdings = NO_HOLDINGS) -> None:
        self.info = info
        self.ident = info.agent_id
        self.state = AgentState.REGISTERED
        self.session = ""
        self.number = 0
        self.attempt = ""
        self.boot_id = ""
        self.beat = 0.0
        """Seconds between its heartbeats, or what it was told to make of them if that is more."""
        self.registered_at = 0.0
        self.unreachable_at: float | None = None
        self.holdings = holdings
        """Dynamic reservations and persistent volumes."""
        self.maintenance = NO_MAINTENANCE
        # -- in memory only
        self.total = info.resources
        """Where disk has become volumes."""
        self.reservations: tuple[Reservation, ...] = ()
        """Static and dynamic ones side by side, where disk has become volumes."""
        self.slack = EMPTY
        """What it estimates to be lent and not used."""
        self.slack_held = EMPTY
        """Of the slack: offered and used."""
        self.used = EMPTY
        self.crowded = False
        """Two of its tasks hold the same port, as one knows them: a store went back in time. ``used`` is
        added up anew then, whenever a task comes or goes."""
        self.offered = EMPTY
        self.free = info.resources
        self.tasks: dict[str, Task] = {}
        self.lines = Lines()
        self.offers: dict[str, OpenOffer] = {}
        self.heard: float | None = None
        self.hinted = float("-inf")
        self.hidden_until = 0.0
        """Monotonic time before which filters hide what is free from everybody who was asked last; void
        when what is free or who wants it has changed."""
        self.usage = NO_USAGE
        self.applied = 0
        """The command number that its latest heartbeat named."""
        self.behind = 0
        """Heartbeats in a row that were behind or miscounted."""
        self.asked: dict[str, Resend] = {}
        """When frameworks are sent their inverse offer again."""
        self.listed = True
        """False in a recovery, until its list has arrived under this term."""
        self.keep(holdings)

    @property
    def allocatable(self) -> bool:
        """Whether its free resources may be offered."""
        return (
            self.state is AgentState.REGISTERED
            and self.listed
            and bool(self.session)
            and not self.maintenance.closed
        )

    def keep(self, holdings: Holdings) -> None:
        """What is reserved has changed, or what the agent has."""
        self.holdings = holdings
        static = (each.model_copy(update={"static": True}) for each in self.info.reservations)
        self.total, self.reservations = laid_out(
            self.info.resources, (*static, *holdings.reservations), holdings.volumes
        )
        self.reckon()

    def use(self, task: Task) -> None:
        """A task of it that is in ``tasks`` begins to use its resources."""
        if task.revocable:
            self.slack_held += task.resources
            return
        if not self.crowded:
            try:
                self.used += task.resources
            except InvalidResources:
                self.crowded = True
        self._settle()

    def release(self, task: Task) -> None:
        """A task in a final state uses nothing any more."""
        if task.revocable:
            self.slack_held -= task.resources
            return
        if not self.crowded:
            self.used -= task.resources
        self._settle()

    def use_all(self) -> None:
        """All of ``tasks`` have come at once."""
        living = [task for task in self.tasks.values() if not (task.waits or task.state.terminal)]
        self.slack_held = Resources.sum([task.resources for task in living if task.revocable])
        self._add_up([task.resources for task in living if not task.revocable])
        self.reckon()

    def _settle(self) -> None:
        if self.crowded:
            self._add_up([task.resources for task in self.tasks.values() if task.holds])
        self.reckon()

    def _add_up(self, running: list[Resources]) -> None:
        try:
            self.used = Resources.sum(running)
            self.crowded = False
        except InvalidResources:
            self.used = overlaid(running)
            self.crowded = True

    def reckon(self) -> None:
        """Recompute what is free; used when the total changes. An agent that shrank below its use has
        nothing free until enough has ended."""
        self.free = self.total.clipped_minus(self.used).clipped_minus(self.offered)

    def promise(self, resources: Resources) -> None:
        """Free resources are offered."""
        self.offered += resources
        if resources is not self.free:
            return self.reckon()
        self.free = EMPTY  # nothing is short, so that nothing more has to be reckoned

    def record(self) -> AgentRecord:
        """As it is stored."""
        return AgentRecord(
            info=self.info,
            state=self.state,
            session=self.session,
            number=self.number,
            attempt=self.attempt,
            boot_id=self.boot_id,
            beat=self.beat,
            registered_at=self.registered_at,
            unreachable_at=self.unreachable_at,
            listed=self.listed,
            holdings=self.holdings,
            maintenance=self.maintenance,
        )


class Filter(NamedTuple):
    """Hides any offer of an agent that is contained in the refused resources."""

    resources: Resources
    role: str
    until: float
    revocable: bool = False
    """It hides slack, and nothing else."""


class Framework:
    """A framework as this cell knows it."""

    __slots__ = (
        "_demand",
        "_muted",
        "_state",
        "accepted",
        "asked",
        "begun",
        "completed",
        "disconnected_at",
        "filters",
        "gangs",
        "heard",
        "held",
        "ident",
        "info",
        "more_since",
        "offered",
        "offers",
        "order",
        "patience",
        "promised",
        "registered_at",
        "sat",
        "tasks",
        "torn_down_at",
        "unacknowledged",
        "used",
        "wanting",
    )

    def __init__(self, info: FrameworkInfo, order: int, completed: int) -> None:
        self.info = info
        self.ident = info.framework_id
        self.wanting: dict[str, Framework] = {}
        """Where it stands, by its id, for as long as it may be sent offers."""
        self._state = FrameworkState.SUBSCRIBED
        self._muted = False
        self.gangs: tuple[str, ...] = ()
        """Names of the gangs of its demand, in their order."""
        self.registered_at = 0.0
        self.disconnected_at: float | None = None
        self.torn_down_at: float | None = None
        self.order = order
        """Counts up with each framework; ties in the fair share go by it, rotated by cell."""
        self._demand = Demand(version=-1)
        self.accepted: Counter[Kind] = Counter()
        """Tasks launched on offers that were made for this version of the demand, by kind of shape."""
        self.promised: Counter[Kind] = Counter()
        """Tasks that open offers are meant for, by kind of shape."""
        self.begun: set[str] = set()
        """Gangs of which tasks were launched since the demand's version was heard."""
        self.sat = 0
        """Rounds of offers in a row that it let time out."""
        self.patience = 1
        """Offer timeouts after which its offers end: more than one once it has answered too late."""
        self.more_since = float("-inf")
        """When it was last given more time."""
        self.heard: float | None = None
        self.asked = float("-inf")
        """When its consumers were last counted."""
        self.filters: dict[str, list[Filter]] = {}
        self.tasks: dict[str, Task] = {}
        self.offers: dict[str, OpenOffer] = {}
        self.held: dict[str, Resources] = {}
        """Per role: used and offered, of this cell."""
        self.used = EMPTY
        self.offered = EMPTY
        self.unacknowledged: dict[str, Resend] = {}
        self.completed: deque[Task] = deque(maxlen=completed)

    @property
    def wants(self) -> bool:
        """Whether it may be sent offers."""
        return self._state is FrameworkState.SUBSCRIBED and self._demand.wanted and not self._muted

    @property
    def state(self) -> FrameworkState:
        """Whether it gets offers."""
        return self._state

    @state.setter
    def state(self, state: FrameworkState) -> None:
        self._state = state
        self.enlist()

    @property
    def demand(self) -> Demand:
        """What it wants."""
        return self._demand

    @demand.setter
    def demand(self, demand: Demand) -> None:
        self._demand = demand
        self.gangs = tuple(dict.fromkeys(shape.gang for shape in demand.shapes or () if shape.gang))
        self.enlist()

    @property
    def muted(self) -> bool:
        """Its offers' queue has no consumer; the next heartbeat ends that."""
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        self._muted = muted
        self.enlist()

    def enlist(self) -> None:
        """It may be sent offers from now on, or no more."""
        if self.wants:
            self.wanting[self.ident] = self
        else:
            self.wanting.pop(self.ident, None)

    def wants_in(self, role: str) -> bool:
        """Whether it may be sent offers under one of its roles."""
        if role in self.demand.suppressed:
            return False
        shapes = self.demand.shapes
        return shapes is None or any(each.role == role and self.missing(each) for each in shapes)

    def missing(self, shape: Shape) -> int:
        """How many tasks of a shape of its demand are not offered anything yet."""
        kind = shape.kind
        return max(0, shape.count - self.accepted.get(kind, 0) - self.promised.get(kind, 0))

    def refuses_until(
        self, agent_id: str, role: str, resources: Resources, now: float, *, revocable: bool = False
    ) -> float:
        """Until when a filter hides this offer, at least; 0 if none does. Forgets what has run out."""
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

    def record(self) -> FrameworkRecord:
        """As it is stored."""
        return FrameworkRecord(
            info=self.info,
            state=self.state,
            registered_at=self.registered_at,
            disconnected_at=self.disconnected_at,
            torn_down_at=self.torn_down_at,
        )
