"""Operator request for the latest decisions about one thing: which input caused what."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part, Short, TaskId
from broker_mesos.core.protocol.wire import register


class DecisionView(Part):
    """One cause, and what a cell decided because of it."""

    cell: int
    cause_id: str
    """Identity of the cause: the cell, the term of its owner, and a number that counts up within the term."""
    at: float
    """When the owner decided, by its clock, in seconds since the epoch."""
    cause: str
    """The type of the message, such as ``ACCEPT``, or the name of the input or the periodic check."""
    sender: Short = ""
    """Id of the framework or agent that sent the message; empty if it has none."""
    effects: tuple[tuple[str, ...], ...] = ()
    """Each effect as its kind and the ids that it concerns, such as ``("launch", "t1", "a1")``."""
    more: int = 0
    """Number of effects that are left out."""


class StoryView(Part):
    """The latest decisions about one id, the oldest first."""

    decisions: tuple[DecisionView, ...] = ()
    since: float | None = None
    """Every cell that answered still has all of its decisions from this time on, in seconds since the epoch; None if
    no cell has recorded any."""
    missing: tuple[int, ...] = ()
    """Cells that did not answer."""


@register
class GetStory(Request):
    """Get the latest decisions about a task, an agent, a framework or an offer. The owner of a cell has them in memory,
    up to a bound, and only for its own term."""

    TYPE = "GET_STORY"
    RIGHT = Right.VIEW
    ANSWER = StoryView
    ROUTE = Route.CELLS
    FOR_USERS = True
    id: TaskId
    limit: int = Field(default=50, ge=1, le=500)
    """The largest number of decisions of the answer; the latest ones are kept."""
