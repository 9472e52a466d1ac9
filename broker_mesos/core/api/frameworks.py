"""Operator requests about frameworks. Answered by the owners of all cells."""

from __future__ import annotations

from broker_mesos.core.api.request import Request, Route
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.protocol.wire import register


class FrameworkReadmitted(Part):
    """Whether this cell refused the framework until now."""

    known: bool


@register
class ReadmitFramework(Request):
    """Lift the tombstone of a framework that was torn down, so that its id may be used again. Its tasks have
    ended, or end. Idempotent."""

    TYPE = "READMIT_FRAMEWORK"
    ANSWER = FrameworkReadmitted
    ROUTE = Route.CELLS
    FOR_USERS = True
    framework_id: Ident
