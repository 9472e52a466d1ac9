"""Calls and heartbeats of frameworks to cells. ``events.py`` has the messages in the other direction."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.part import Ident, Part, Short, TaskId
from broker_mesos.core.model.reservation import (
    Operation,
)
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.protocol.wire import Message, register


class Call(Message):
    """A call by a framework."""

    framework_id: Ident


class DescribingCall(Call):
    """A call with the description of the framework, which has the framework's id too."""

    framework: FrameworkInfo

    @model_validator(mode="after")
    def _is_of_one_framework(self) -> Self:
        # Handlers use either of them: with two ids, one framework would be stored in place of another.
        if self.framework.framework_id != self.framework_id:
            raise ValueError("framework: its framework_id is not that of the call")
        return self


@register
class Subscribe(DescribingCall):
    """A process of a framework starts or reconnects. Idempotent; unacknowledged updates are sent again."""

    TYPE = "SUBSCRIBE"
    process_id: str = ""
    demand: Demand = Demand()


class Acceptance(Part):
    """The use of offers of one agent for tasks. An offer can be used once. In a repeat, tasks that were launched on
    these offers are ignored and others are answered with TASK_DROPPED; operations that were carried out are
    answered with OPERATION_FINISHED again, others with OPERATION_ERROR."""

    offer_ids: tuple[Ident, ...]
    operations: tuple[Operation, ...] = ()
    """Operations that are carried out in their order, before the tasks are launched."""
    tasks: tuple[TaskInfo, ...] = ()
    refuse_seconds: float | None = None
    """Duration of the filter for the unused part, in seconds, at most 365 days; 0 sets no filter, and None the
    default one."""


class AcceptingCall(Call):
    """The fields that every call with acceptances carries."""

    acknowledged: tuple[TaskId, ...] = ()
    """Ids of tasks whose terminal updates are acknowledged as by ACKNOWLEDGE, independent of the offers."""
    demand: Demand | None = None
    """The demand from this call on, as in a FRAMEWORK_HEARTBEAT; None if the call does not change it."""


@register
class Accept(AcceptingCall, Acceptance):
    """The framework uses offers of one agent for tasks. A repeat is handled as described for an acceptance."""

    TYPE = "ACCEPT"


@register
class Accepts(AcceptingCall):
    """Several acceptances in one call, for offers of many agents. They are handled in their order, each
    independent of the others."""

    TYPE = "ACCEPTS"
    accepts: tuple[Acceptance, ...]


@register
class Decline(Call):
    """The framework gives offers back. Idempotent: an unknown offer has ended."""

    TYPE = "DECLINE"
    offer_ids: tuple[Ident, ...]
    refuse_seconds: float | None = None
    reason: Short = ""
    """Why, in a few words, for operators; empty if it gives no reason."""


@register
class AnswerInverseOffers(Call):
    """The framework accepts or declines inverse offers. The answers are shown to operators. Idempotent."""

    TYPE = "ANSWER_INVERSE_OFFERS"
    agent_ids: tuple[Ident, ...]
    accept: bool


@register
class Revive(Call):
    """The framework receives offers again from this demand version on, and its filters are cleared."""

    TYPE = "REVIVE"
    demand: Demand


@register
class Suppress(Call):
    """The framework receives no offers from this demand version on."""

    TYPE = "SUPPRESS"
    demand: Demand


@register
class Kill(Call):
    """The framework kills tasks. Idempotent; the cell answers an unknown id with TASK_UNKNOWN."""

    TYPE = "KILL"
    task_ids: tuple[TaskId, ...]
    answer_unknown: bool = True
    """Whether unknown ids are answered. False if the call is sent to every cell, since only one of them can know
    the task."""


@register
class Acknowledge(Call):
    """The framework has stored terminal updates, and the cell may remove their tasks. Idempotent."""

    TYPE = "ACKNOWLEDGE"
    task_ids: tuple[TaskId, ...]


@register
class Reconcile(Call):
    """The framework requests the states of tasks; an empty list requests those of all its tasks in this cell."""

    TYPE = "RECONCILE"
    task_ids: tuple[TaskId, ...] = ()
    answer_unknown: bool = True


@register
class Settle(Call):
    """The framework asks whether a task that it claimed for an offer was launched. In one commit the offer ends if
    it is still open, and the cell answers the task's state, or TASK_DROPPED if it does not know the task.
    Idempotent."""

    TYPE = "SETTLE"
    claims: tuple[tuple[TaskId, Ident], ...]
    """Pairs of task id and offer id."""


@register
class FrameworkAbsent(DescribingCall):
    """A cell reports to a framework's home cell that the framework has been absent for longer than its failover
    timeout: the home cell may not know the framework (its store lost data), or the reporting cell may have missed
    its end. Idempotent; it is repeated from time to time."""

    TYPE = "FRAMEWORK_ABSENT"
    seconds: float = Field(default=0.0, ge=0)
    """How long the framework has been absent, in seconds."""


@register
class Teardown(Call):
    """The framework ends: its tasks are killed, its offers are rescinded, and its id is refused from then on (see
    "tombstone" in the glossary). Idempotent."""

    TYPE = "TEARDOWN"
    reason: str = ""


@register
class FrameworkHeartbeat(DescribingCall):
    """A process of a framework reports that it is alive, and its demand. A cell that does not know the framework
    subscribes it."""

    TYPE = "FRAMEWORK_HEARTBEAT"
    process_id: str = ""
    demand: Demand = Demand()
