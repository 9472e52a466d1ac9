"""Operator requests about frameworks. Answered by the owners of all cells."""

from __future__ import annotations

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.protocol.wire import register


class FrameworkReadmitted(Part):
    """The answer to READMIT_FRAMEWORK. ``known``: whether this cell had a tombstone of the framework."""

    known: bool


@register
class ReadmitFramework(Request):
    """Remove the tombstone of a framework that was torn down, so that its id may be used again. Its earlier tasks
    have ended, or will end. Idempotent."""

    TYPE = "READMIT_FRAMEWORK"
    RIGHT = Right.GONE
    ANSWER = FrameworkReadmitted
    ROUTE = Route.CELLS
    FOR_USERS = True
    framework_id: Ident
