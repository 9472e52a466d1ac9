"""The state of an agent in its cell."""

from __future__ import annotations

from broker_mesos.core.cell.state.offer_details import OfferDetails
from broker_mesos.core.cell.state.reserved_portions import EMPTY, laid_out, on_slack, overlaid
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
    """An agent, its session, and its offered and used resources."""

    __slots__ = (
        "announced",
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
        "next_port",
        "number",
        "offered",
        "offers",
        "processes",
        "queues",
        "registered_at",
        "replaced_until",
        "reservations",
        "reserved_resources",
        "rival",
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
        """The interval of its heartbeats in seconds, or the interval that it was sent if that is longer."""
        self.registered_at = 0.0
        self.unreachable_at: float | None = None
        self.since = 0.0
        """Cell time at which the agent became unreachable or was marked as gone, in seconds."""
        self.reserved_resources = reserved_resources
        """Dynamic reservations and persistent volumes."""
        self.maintenance = NO_MAINTENANCE
        # -- in memory only
        self.total = info.resources
        """All resources of the agent, with the disk of each volume replaced by the volume."""
        self.reservations: tuple[Reservation, ...] = ()
        """Static and dynamic reservations that do not overlap, with the disk of each volume replaced by the
        volume."""
        self.slack = EMPTY
        """The agent's estimate of the resources that are lent but not used."""
        self.slack_held = EMPTY
        """The part of the slack that is offered or used."""
        self.used = EMPTY
        self.has_conflict = False
        """Whether two of its tasks use the same port according to the cell, since the store lost data. Then ``used``
        is computed from all tasks whenever a task is added or ends."""
        self.offered = EMPTY
        self.free = info.resources
        self.tasks: dict[str, Task] = {}
        self.queues = TaskQueues()
        self.offers: dict[str, OfferDetails] = {}
        self.last_heartbeat_at: float | None = None
        self.hinted = float("-inf")
        self.processes: tuple[str, ...] = ()
        """The latest processes that have registered the agent, the most recent one last."""
        self.rival = ""
        """The process that was last refused because the agent has a live session of another process; empty if there
        is none."""
        self.contested_until = float("-inf")
        """Monotonic time until which two machines are assumed to use the agent's id."""
        self.replaced_until = float("-inf")
        """Likewise, if each of them has replaced the session of the other: each may run tasks of the agent."""
        self.hidden_until = 0.0
        """Monotonic time until which filters hide the agent's free resources from every framework of the last
        round. It does not apply after a change of the free resources or of a demand."""
        self.usage = NO_USAGE
        self.announced = ("", "")
        """Its state and session as operators were last informed; see ``changes.py``."""
        self.applied = 0
        """The number of the last applied command in its latest heartbeat."""
        self.behind = 0
        """Number of consecutive heartbeats that disagreed with the cell about commands or tasks."""
        self.inverse_offers_sent: dict[str, Resend] = {}
        """When each framework is sent its inverse offer again, by framework id."""
        self.next_port = 0
        """The number from which the next ports are picked that are requested by their count, so that a port is not
        used again at once: clients of its last task may still try it."""
        self.listed = True
        """False in a recovery, until the agent's list has arrived under this term."""
        self.set_reserved(reserved_resources)

    @property
    def allocatable(self) -> bool:
        """Whether the free resources of the agent may be offered."""
        return (
            self.state is AgentStatus.REGISTERED and self.listed and bool(self.session) and not self.maintenance.closed
        )

    def set_reserved(self, reserved_resources: ReservedResources) -> None:
        """Set the reservations and volumes, and compute what depends on them and on the agent's resources."""
        self.reserved_resources = reserved_resources
        static = (each.model_copy(update={"static": True}) for each in self.info.reservations)
        self.total, self.reservations = laid_out(
            self.info.resources, (*static, *reserved_resources.reservations), reserved_resources.volumes
        )
        self.recompute_free()

    def use(self, task: Task) -> None:
        """Charge the resources of a task that is already in ``tasks``."""
        if task.revocable:
            self.slack_held += on_slack(task.resources)
            return
        if not self.has_conflict:
            try:
                self.used += task.resources
            except InvalidResources:
                self.has_conflict = True
        self._settle()

    def release(self, task: Task) -> None:
        """Release the resources of a task in a final state."""
        if task.revocable:
            self.slack_held -= on_slack(task.resources)
            return
        if not self.has_conflict:
            self.used -= task.resources
        self._settle()

    def use_all(self) -> None:
        """Charge the resources of all ``tasks`` together."""
        living = [task for task in self.tasks.values() if not (task.waits or task.state.terminal)]
        self.slack_held = Resources.sum([on_slack(task.resources) for task in living if task.revocable])
        self._add_up([task.resources for task in living if not task.revocable])
        self.recompute_free()

    def _settle(self) -> None:
        if self.has_conflict:
            self._add_up([task.resources for task in self.tasks.values() if task.occupies])
        self.recompute_free()

    def _add_up(self, running: list[Resources]) -> None:
        try:
            self.used = Resources.sum(running)
            self.has_conflict = False
        except InvalidResources:
            self.used = overlaid(running)
            self.has_conflict = True

    def recompute_free(self) -> None:
        """Compute the free resources from the total. An agent that shrank below its used resources has nothing free
        until enough tasks have ended."""
        self.free = self.total.clipped_minus(self.used).clipped_minus(self.offered)

    def promise(self, resources: Resources) -> None:
        """Move free resources to the offered ones."""
        self.offered += resources
        if resources is not self.free:
            return self.recompute_free()
        self.free = EMPTY  # all of it is offered, so that nothing has to be computed

    def record(self, cell_seconds: float) -> AgentRecord:
        """The record of the agent for the store at a cell time in seconds."""
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
