"""Messages from cells to frameworks: offers and hints through the exchange ``offers``, the rest through
``events``."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.model.framework import MAX_DEMAND_VERSION
from broker_mesos.core.model.offer import InverseOffer, Offer
from broker_mesos.core.model.part import Ident
from broker_mesos.core.model.reservation import OperationStatus
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.protocol.wire import Message, register


@register
class Offers(Message):
    """A cell makes offers. A repeat has the same ids; an answer to an offer that has ended is harmless."""

    TYPE = "OFFERS"
    offers: tuple[Offer, ...]


@register
class Rescind(Message):
    """Offers have ended. It is a hint, since they may have been answered already."""

    TYPE = "RESCIND"
    offer_ids: tuple[Ident, ...]


@register
class Subscribed(Message):
    """A cell has registered the framework."""

    TYPE = "SUBSCRIBED"
    framework_id: Ident
    cell: int
    cells: int
    demand: int = Field(default=0, ge=0, le=MAX_DEMAND_VERSION)
    """The highest demand version that the cell has received; the next one must be above it."""


@register
class InverseOffers(Message):
    """Agents are requested back for maintenance, and a framework with tasks there should move them in time. It is
    sent again until it is answered. It is advisory: the maintenance does not depend on the answer."""

    TYPE = "INVERSE_OFFERS"
    cell: int
    inverse_offers: tuple[InverseOffer, ...]


@register
class OperationsUpdated(Message):
    """Outcomes of those operations of an accept that have an id. A repeat has the same content."""

    TYPE = "UPDATE_OPERATION_STATUS"
    cell: int
    statuses: tuple[OperationStatus, ...]


@register
class Update(Message):
    """Statuses of the framework's tasks. A task's state moves only forward; terminal statuses are sent again until
    they are acknowledged."""

    TYPE = "UPDATE"
    cell: int
    statuses: tuple[TaskStatus, ...]


@register
class EarlyStatuses(Message):
    """An agent reports the ends of task processes directly to the framework, for tasks with ``TaskInfo.early``,
    after it has recorded them and before their cell knows. It is a hint, which may get lost: the cell's UPDATE
    with the same ``uuid`` follows, and it alone is acknowledged."""

    TYPE = "EARLY_STATUSES"
    statuses: tuple[TaskStatus, ...]


@register
class Failure(Message):
    """An agent is gone or unreachable."""

    TYPE = "FAILURE"
    agent_id: Ident
    message: str = ""


@register
class Error(Message):
    """The cell refuses a call of the framework, for instance since it was torn down or a role is unknown. The
    framework should stop."""

    TYPE = "ERROR"
    message: str
