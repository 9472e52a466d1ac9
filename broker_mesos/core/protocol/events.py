"""What cells send to frameworks: offers and hints by the exchange ``offers``, the rest by ``events``."""

from __future__ import annotations

from broker_mesos.core.model.offer import InverseOffer, Offer
from broker_mesos.core.model.part import Ident
from broker_mesos.core.model.reservation import OperationStatus
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.protocol.wire import Message, register


@register
class Offers(Message):
    """New offers. A repeat would name the same ids; an answer to an ended one is harmless."""

    TYPE = "OFFERS"
    offers: tuple[Offer, ...]


@register
class Rescind(Message):
    """These offers have ended; a hint, since they may already be answered."""

    TYPE = "RESCIND"
    offer_ids: tuple[Ident, ...]


@register
class Subscribed(Message):
    """A cell knows the framework now."""

    TYPE = "SUBSCRIBED"
    framework_id: Ident
    cell: int
    cells: int
    demand: int = 0
    """The highest demand version that the cell has heard: the next one must be above it."""


@register
class InverseOffers(Message):
    """Agents are wanted back for maintenance; a framework with tasks there should move them in time. Sent
    again until it is answered. Advisory: what happens then does not depend on the answer."""

    TYPE = "INVERSE_OFFERS"
    cell: int
    inverse_offers: tuple[InverseOffer, ...]


@register
class OperationsUpdated(Message):
    """How the operations of an accept ended, those that carry an id. A repeat says the same."""

    TYPE = "UPDATE_OPERATION_STATUS"
    cell: int
    statuses: tuple[OperationStatus, ...]


@register
class Update(Message):
    """Statuses of the framework's tasks. Applies only forward; terminal ones come again until
    acknowledged."""

    TYPE = "UPDATE"
    cell: int
    statuses: tuple[TaskStatus, ...]


@register
class EarlyStatuses(Message):
    """How processes of tasks have ended that asked for it (``TaskInfo.early``), as their agent has written it
    down, and before their cell knows. A hint, which may get lost: the cell's UPDATE with the same ``uuid``
    follows, and it alone is acknowledged."""

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
    """The framework did what it may not do (it is torn down, a role is unknown); it should stop."""

    TYPE = "ERROR"
    message: str
