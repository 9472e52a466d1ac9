"""Calls and heartbeats of frameworks to cells. The events in return: ``events.py``."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.part import Ident, Part, TaskId
from broker_mesos.core.model.reservation import (
    Operation,
)
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.protocol.wire import Message, register


class Call(Message):
    """A call by a framework."""

    framework_id: Ident


@register
class Subscribe(Call):
    """A process of a framework starts or comes back. Idempotent; unacknowledged updates are sent again."""

    TYPE = "SUBSCRIBE"
    framework: FrameworkInfo
    process_id: str = ""
    demand: Demand = Demand()


class Acceptance(Part):
    """The use of offers of one agent for tasks. The offer is the single-use token: of a repeat, tasks known
    from these offers are passed over and others answered with TASK_DROPPED; operations that were carried out
    are answered with OPERATION_FINISHED again, others with OPERATION_ERROR."""

    offer_ids: tuple[Ident, ...]
    operations: tuple[Operation, ...] = ()
    """Carried out in their order, before the tasks are launched."""
    tasks: tuple[TaskInfo, ...] = ()
    refuse_seconds: float | None = None
    """For the unused part; None is the default filter, 0 none, at most 365 days."""


class AcceptingCall(Call):
    """What any call that accepts takes along."""

    acknowledged: tuple[TaskId, ...] = ()
    """As ACKNOWLEDGE, whatever becomes of the offers."""
    demand: Demand | None = None
    """What is wanted from here on, as in a FRAMEWORK_HEARTBEAT."""


@register
class Accept(AcceptingCall, Acceptance):
    """Use offers of one agent for tasks; its repeat is an acceptance's."""

    TYPE = "ACCEPT"


@register
class Accepts(AcceptingCall):
    """Several accepts at once, of offers of many agents: worked off in their order, each by itself."""

    TYPE = "ACCEPTS"
    accepts: tuple[Acceptance, ...]


@register
class Decline(Call):
    """Give offers back. Idempotent: an unknown offer is an ended one."""

    TYPE = "DECLINE"
    offer_ids: tuple[Ident, ...]
    refuse_seconds: float | None = None


@register
class AnswerInverseOffers(Call):
    """Accept or decline inverse offers. Idempotent; for people to see."""

    TYPE = "ANSWER_INVERSE_OFFERS"
    agent_ids: tuple[Ident, ...]
    accept: bool


@register
class Revive(Call):
    """Want offers again, and forget filters, from this demand version on."""

    TYPE = "REVIVE"
    demand: Demand


@register
class Suppress(Call):
    """Want no offers, from this demand version on."""

    TYPE = "SUPPRESS"
    demand: Demand


@register
class Kill(Call):
    """End tasks. Idempotent; an unknown id is answered with TASK_UNKNOWN by the cell it was sent to."""

    TYPE = "KILL"
    task_ids: tuple[TaskId, ...]
    answer_unknown: bool = True
    """False when it was sent to every cell: the others know nothing of it and keep silent."""


@register
class Acknowledge(Call):
    """Terminal updates are safe with the framework; their tasks may be forgotten. Idempotent."""

    TYPE = "ACKNOWLEDGE"
    task_ids: tuple[TaskId, ...]


@register
class Reconcile(Call):
    """Ask for the state of tasks; an empty list asks for all of the framework's tasks in this cell."""

    TYPE = "RECONCILE"
    task_ids: tuple[TaskId, ...] = ()
    answer_unknown: bool = True


@register
class Settle(Call):
    """Is this claim a task? In one commit the offer ends if it is open, and the task's state is answered;
    TASK_DROPPED if the cell knows none. Idempotent."""

    TYPE = "SETTLE"
    claims: tuple[tuple[TaskId, Ident], ...]
    """Pairs of task id and offer id."""


@register
class FrameworkAbsent(Call):
    """A cell tells a framework's home cell that nobody has heard of it for longer than its failover timeout:
    the home cell may not know it at all (its store went back in time), or the cell may have missed its end.
    Idempotent; said again now and then."""

    TYPE = "FRAMEWORK_ABSENT"
    framework: FrameworkInfo
    seconds: float = Field(default=0.0, ge=0)
    """For how long."""


@register
class Teardown(Call):
    """The framework ends: its tasks are killed, its offers return, its id is a tombstone. Idempotent."""

    TYPE = "TEARDOWN"
    reason: str = ""


@register
class FrameworkHeartbeat(Call):
    """A process of a framework lives, and wants this. A cell that does not know it subscribes it."""

    TYPE = "FRAMEWORK_HEARTBEAT"
    framework: FrameworkInfo
    process_id: str = ""
    demand: Demand = Demand()
