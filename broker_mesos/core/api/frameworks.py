"""Operator requests about frameworks. Answered by the owners of all cells."""

from __future__ import annotations

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.protocol.wire import register


class FrameworkReadmitted(Part):
    """The answer to READMIT_FRAMEWORK. ``known``: whether this cell had a tombstone of the framework."""

    known: bool


class FrameworkTornDown(Part):
    """The answer to TEAR_DOWN_FRAMEWORK, of one cell or of all of them."""

    known: bool = False
    """Whether any of these cells knew it."""
    tasks: int = 0
    """Number of its tasks that are killed."""
    offers: int = 0
    """Number of offers to it that have ended."""
    missing: tuple[int, ...] = ()
    """Cells that have not answered; they tear it down when they have an owner again."""


@register
class TearDownFramework(Request):
    """Tear a framework down: its tasks are killed, its offers end, and its id is refused from then on, until
    READMIT_FRAMEWORK. Its processes are told so, and end. Idempotent."""

    TYPE = "TEAR_DOWN_FRAMEWORK"
    RIGHT = Right.GONE
    ANSWER = FrameworkTornDown
    ROUTE = Route.CELLS
    FOR_USERS = True
    framework_id: Ident


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
