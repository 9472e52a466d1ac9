"""Keeps one offer ready for the next task that is like the last one, so that a client that submits one task after the
other need not wait for an offer each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.multiples import fits
from broker_mesos.core.model.offer import Offer
from broker_mesos.frameworks.batch.planning.claims import Launch
from broker_mesos.frameworks.batch.planning.shapes import DemandShapes, job_shape_of

SPARE_SECONDS = 1.0
"""Time for which an offer is kept, in seconds. Its cell rescinds it earlier when any other framework has demand."""


class Use(Protocol):
    """Accepts an offer for the tasks claimed on it; ``demand`` is the level of demand after the claim."""

    def __call__(self, offer: Offer, launches: Sequence[Launch], demand: Demand) -> None: ...


def is_lone(spec: JobSpec) -> bool:
    """Whether a job is a single task that may run on the first offer that it fits."""
    return spec.total == 1 and not (spec.gang or spec.prefer or spec.revocable)


def spare_demand(demand: Demand | None, launches: Sequence[Launch]) -> Demand | None:
    """The demand for a spare offer: one more task like the one that was claimed, after which nothing is left.

    None where no similar task is expected: unless exactly one lone task was claimed and nothing waits.
    """
    if demand is None or demand.wanted or len(launches) != 1 or not is_lone(launches[0].spec):
        return None
    kind = job_shape_of("", launches[0].spec, False)
    stated = DemandShapes(tuple(kind.shapes(1)))
    return Demand(version=demand.version, shapes=stated.shapes, roles=stated.roles, spare=True)


class Spare:
    """Holds at most one offer, and gives it back when it is not used within SPARE_SECONDS."""

    def __init__(self, use: Use, give_back: Callable[[Offer], None]) -> None:
        self.use = use
        self.refuse = give_back
        self._offer: Offer | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ready(self) -> bool:
        """Whether an offer is kept."""
        return self._offer is not None

    def keep(self, offer: Offer) -> None:
        """Keep an offer that no task waits for, in place of an older one, which may have ended."""
        self.give_back()
        self._offer = offer
        self._timer = asyncio.get_running_loop().call_later(SPARE_SECONDS, self.give_back)

    def take(self, spec: JobSpec) -> Offer | None:
        """Remove and return the offer if this job fits onto it; else None. The caller must answer it."""
        offer = self._offer
        if offer is None or not is_lone(spec) or not fits(spec.resources, offer.resources, spec.ports):
            return None
        if not job_shape_of("", spec, False).matches(offer):
            return None
        self._clear()
        return offer

    def drop(self, offer_id: str) -> None:
        """Forget the offer if it has this id: it has ended."""
        if self._offer is not None and self._offer.offer_id == offer_id:
            self._clear()

    def give_back(self) -> None:
        """Decline the offer, if there is one."""
        if (offer := self._offer) is not None:
            self._clear()
            self.refuse(offer)

    def close(self) -> None:
        """Forget the offer without declining it: at its end the driver declines every unanswered offer."""
        self._clear()

    def _clear(self) -> None:
        self._offer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
