"""Operator requests for the history of the cluster: sums and shares over time. Answered by any master."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker_mesos.core.api.overview import Amounts
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.wire import register

Series = Literal["10s", "1m", "10m"]

STEPS: dict[str, float] = {"10s": 10.0, "1m": 60.0, "10m": 600.0}
"""Time between two points of each series, in seconds."""
LENGTHS: dict[str, int] = {"10s": 360, "1m": 1_440, "10m": 4_320}
"""About the number of points that are kept of each series: an hour, a day, 30 days."""
MAX_ROLES = 30
"""The largest number of roles in a point: those with the largest shares."""
MAX_POINTS = 600


class HistoryPoint(Part):
    """The cluster at one time, as the owner of cell 0 knew it; of the other cells it is up to some seconds old."""

    at: float = 0.0
    """Seconds since the epoch, by the clock of the store."""
    agents: int = 0
    tasks: int = 0
    """Number of tasks that the cells have, which includes ended ones that are not acknowledged."""
    total: Amounts = Field(default_factory=dict)
    used: Amounts = Field(default_factory=dict)
    """Used and offered amounts."""
    roles: dict[str, float] = Field(default_factory=dict)
    """Dominant share by role, with the roles below it."""


class HistoryView(Part):
    """Points of a series, in order."""

    series: Series
    step: float
    """Time between two points of the series, in seconds."""
    points: tuple[HistoryPoint, ...] = ()
    sampled: bool = False
    """Whether points were left out, since there are more than were asked for."""


@register
class GetHistory(Request):
    """Get the history of sums and of shares by role: the points of a series between two times, at most ``points`` of
    them."""

    TYPE = "GET_HISTORY"
    RIGHT = Right.VIEW
    ANSWER = HistoryView
    ROUTE = Route.MASTER
    FOR_USERS = True
    series: Series = "10s"
    since: float = Field(default=0.0, ge=0, le=1e11)
    """Earliest time, in seconds since the epoch."""
    until: float | None = Field(default=None, ge=0, le=1e11)
    """Latest time, in seconds since the epoch; None for now."""
    points: int = Field(default=360, ge=1, le=MAX_POINTS)
