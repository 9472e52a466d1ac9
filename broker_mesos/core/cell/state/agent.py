"""An agent as its cell knows it."""

from __future__ import annotations

from broker_mesos.core.cell.state.offer_details import OfferDetails
from broker_mesos.core.cell.state.reserved_portions import EMPTY, laid_out, overlaid
from broker_mesos.core.cell.state.task import Resend, Task
from broker_mesos.core.model.agent import AgentInfo, Usage
from broker_mesos.core.model.reservation import Reservation, ReservedResources
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_queues import TaskQueues
from broker_mesos.core.protocol.records import (
    NO_MAINTENANCE,
    NO_RESERVED_RESOURCES,
    AgentRecord,
    AgentStatus,
)
from broker_mesos.errors import InvalidResources

NO_USAGE = Usage()


class Agent:
    """An agent, its session, and what of it is promised or in use."""

    __slots__ = (
        "applied",
        "attempt",
        "beat",
        "behind",
        "boot_id",
        "contested_until",
        "free",
        "has_conflict",
        "hidden_until",
        "hinted",
        "ident",
        "info",
        "inverse_offers_sent",
        "last_heartbeat_at",
        "listed",
        "maintenance",
        "number",
        "offered",
        "offers",
        "processes",
        "queues",
        "registered_at",
        "reservations",
        "reserved_resources",
        "session",
        "since",
        "slack",
        "slack_held",
        "state",
        "tasks",
        "total",
        "unreachable_at",
        "usage",
        "used",
    )

    def __init__(self, info: AgentInfo, reserved_resources: ReservedResources = NO_RESERVED_RESOURCES) -> None:
        self.info = info
        self.ident = info.agent_id
        self.state = AgentStatus.REGISTERED
        self.session = ""
        self.number = 0
        self.attempt = ""
        self.boot_id = ""
        self.beat = 0.0
        """Seconds between its heartbeats, or what it was told to make of them if that is more."""
        self.registered_at = 0.0
        self.unreachable_at: float | None = None
        self.since = 0.0
        """Cell time at which it became unreachable or was marked as gone, in seconds."""
        self.reserved_resources = reserved_resources
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
        self.has_conflict = False
        """Two of its tasks hold the same port, as one knows them: a store went back in time. ``used`` is
        added up anew then, whenever a task comes or goes."""
        self.offered = EMPTY
        self.free = info.resources
        self.tasks: dict[str, Task] = {}
        self.queues = TaskQueues()
        self.offers: dict[str, OfferDetails] = {}
        self.last_heartbeat_at: float | None = None
        self.hinted = float("-inf")
        self.processes: tuple[str, ...] = ()
        """The processes that registered it of late, the latest one last."""
        self.contested_until = float("-inf")
        """Monotonic time until which two machines are taken to use its id."""
        self.hidden_until = 0.0
        """Monotonic time before which filters hide what is free from everybody who was asked last; void
        when what is free or who wants it has changed."""
        self.usage = NO_USAGE
        self.applied = 0
        """The command number that its latest heartbeat named."""
        self.behind = 0
        """Heartbeats in a row that were behind or miscounted."""
        self.inverse_offers_sent: dict[str, Resend] = {}
        """When frameworks are sent their inverse offer again."""
        self.listed = True
        """False in a recovery, until its list has arrived under this term."""
        self.set_reserved(reserved_resources)

    @property
    def allocatable(self) -> bool:
        """Whether its free resources may be offered."""
        return (
            self.state is AgentStatus.REGISTERED and self.listed and bool(self.session) and not self.maintenance.closed
        )

    def set_reserved(self, reserved_resources: ReservedResources) -> None:
        """What is reserved has changed, or what the agent has."""
        self.reserved_resources = reserved_resources
        static = (each.model_copy(update={"static": True}) for each in self.info.reservations)
        self.total, self.reservations = laid_out(
            self.info.resources, (*static, *reserved_resources.reservations), reserved_resources.volumes
        )
        self.recompute_free()

    def use(self, task: Task) -> None:
        """A task of it that is in ``tasks`` begins to use its resources."""
        if task.revocable:
            self.slack_held += task.resources
            return
        if not self.has_conflict:
            try:
                self.used += task.resources
            except InvalidResources:
                self.has_conflict = True
        self._settle()

    def release(self, task: Task) -> None:
        """A task in a final state uses nothing any more."""
        if task.revocable:
            self.slack_held -= task.resources
            return
        if not self.has_conflict:
            self.used -= task.resources
        self._settle()

    def use_all(self) -> None:
        """All of ``tasks`` have come at once."""
        living = [task for task in self.tasks.values() if not (task.waits or task.state.terminal)]
        self.slack_held = Resources.sum([task.resources for task in living if task.revocable])
        self._add_up([task.resources for task in living if not task.revocable])
        self.recompute_free()

    def _settle(self) -> None:
        if self.has_conflict:
            self._add_up([task.resources for task in self.tasks.values() if task.holds])
        self.recompute_free()

    def _add_up(self, running: list[Resources]) -> None:
        try:
            self.used = Resources.sum(running)
            self.has_conflict = False
        except InvalidResources:
            self.used = overlaid(running)
            self.has_conflict = True

    def recompute_free(self) -> None:
        """Recompute what is free; used when the total changes. An agent that shrank below its use has
        nothing free until enough has ended."""
        self.free = self.total.clipped_minus(self.used).clipped_minus(self.offered)

    def promise(self, resources: Resources) -> None:
        """Free resources are offered."""
        self.offered += resources
        if resources is not self.free:
            return self.recompute_free()
        self.free = EMPTY  # nothing is short, so that nothing more has to be reckoned

    def record(self, cell_seconds: float) -> AgentRecord:
        """As it is stored at a cell time."""
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
            since=self.since,
            cell_seconds=cell_seconds,
            listed=self.listed,
            reserved_resources=self.reserved_resources,
            maintenance=self.maintenance,
        )
