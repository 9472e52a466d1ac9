"""The demand of one driver, and the versions under which cells apply it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from broker_mesos.core.model.framework import MAX_DEMAND_VERSION, Demand, Shape
from broker_mesos.ports.clock import Clock

MAX_CLOCK_DIFFERENCE_SECONDS = 60.0
"""Maximum difference between the clocks of competing processes, in seconds; a demand version that is further ahead was
not taken by one of them just now."""


class DriverDemand:
    """The demand of one driver. Cells apply only a demand with a higher version than the latest one.

    ``first`` is the first demand of a framework that sets versions itself; with None the versions are set here.
    ``competing`` states whether other processes of the framework set demand at the same time. ``send`` sends the
    demand to one cell, or to all (None). ``interval`` is the minimum time between two answers to unwanted offers, in
    seconds.
    """

    def __init__(
        self,
        clock: Clock,
        send: Callable[[int | None], None],
        *,
        first: Demand | None,
        competing: bool,
        interval: float,
    ) -> None:
        self.current = first or Demand()
        self.floor = 0
        """The highest version that a cell has reported."""
        self._clock = clock
        self._send = send
        self._sets_versions = first is None
        self._competing = competing
        self._interval = interval
        self._contradicted = -math.inf

    def state(self, *, wanted: bool, shapes: tuple[Shape, ...] | None = None) -> None:
        """Set the demand under a new version. It stays as it is under the highest version that there is."""
        version = max(self.current.version + 1, self.floor + 1, int(self._clock.time() * 1000))
        version = min(version, MAX_DEMAND_VERSION)
        self.set(Demand(version=version, wanted=wanted, shapes=shapes))

    def set(self, demand: Demand) -> None:
        """Set the demand with its version. A version that is not higher is ignored."""
        if demand.version > self.current.version:
            self.current = demand
            self._send(None)

    def outbid(self, version: int) -> None:
        """Take a higher version if a cell has one above ours. It may come from an earlier process whose clock was
        ahead. With competing processes another process may have taken it just now, unless it lies in the future; then
        ours is not renewed."""
        self.floor = max(self.floor, min(version, MAX_DEMAND_VERSION - 1))
        ahead = version - self._clock.time() * 1000 > MAX_CLOCK_DIFFERENCE_SECONDS * 1000
        if version > self.current.version and (ahead or not self._competing):
            self.renew()

    def renew(self) -> None:
        """Take a new version for the same demand, unless the framework sets versions itself."""
        if self._sets_versions:
            self.state(wanted=self.current.wanted, shapes=self.current.shapes)

    def restate(self, cells: Mapping[int, int]) -> None:
        """Send the demand to cells whose version, which a cell has reported, is lower than ours. The new owner of a
        cell has no version."""
        for cell, version in cells.items():
            if version < self.current.version:
                self._send(cell)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes that are wanted now; empty if nothing is wanted, or anything."""
        return (self.current.shapes or ()) if self.current.wanted else ()

    @property
    def wants_only_gangs(self) -> bool:
        """Whether every shape that is wanted now belongs to a gang; any other offer was made for an earlier demand."""
        shapes = self.shapes
        return bool(shapes) and all(shape.gang for shape in shapes)

    def contradict(self) -> None:
        """Take a new version after offers came although none are wanted: an earlier process may have stated demand
        under a higher version."""
        now = self._clock.monotonic()
        if not self._sets_versions or self.current.wanted or self._competing:
            return
        if now - self._contradicted > self._interval:
            self._contradicted = now
            self.state(wanted=False)
