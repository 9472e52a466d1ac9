"""The place that is kept ready for the next task that is like the last one: whoever submits one task after
the other need not wait for an offer each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.offer import Offer
from broker_mesos.frameworks.batch.planning.claims import Launch
from broker_mesos.frameworks.batch.planning.shapes import job_shape_of

SPARE_SECONDS = 1.0
"""Seconds for which an offer is kept. Its cell takes it back at once when anybody else wants something."""


class Use(Protocol):
    """Accepts an offer for what was claimed on it; with the level of demand after that."""

    def __call__(self, offer: Offer, launches: Sequence[Launch], demand: Demand) -> None: ...


def is_lone(spec: JobSpec) -> bool:
    """Whether a job is a single task that may run on the first place that it fits."""
    return spec.total == 1 and not (spec.gang or spec.prefer or spec.revocable)


def spare_demand(demand: Demand | None, launches: Sequence[Launch]) -> Demand | None:
    """What is wanted after these were claimed and nothing is left: a place for one more like it. None where
    that is not to be expected."""
    if demand is None or demand.wanted or len(launches) != 1 or not is_lone(launches[0].spec):
        return None
    kind = job_shape_of("", launches[0].spec, False)
    return Demand(version=demand.version, shapes=tuple(kind.shapes(1)), spare=True)


class Spare:
    """At most one offer. What is not used in time is given back."""

    def __init__(self, use: Use, give_back: Callable[[Offer], None]) -> None:
        self.use = use
        self.refuse = give_back
        self._offer: Offer | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ready(self) -> bool:
        """Whether a place is kept."""
        return self._offer is not None

    def keep(self, offer: Offer) -> None:
        """An offer that nothing waits for. The latest one: an older one may have ended."""
        self.give_back()
        self._offer = offer
        self._timer = asyncio.get_running_loop().call_later(SPARE_SECONDS, self.give_back)

    def take(self, spec: JobSpec) -> Offer | None:
        """The offer, if there is one that such a job fits onto. It is the caller's then."""
        offer = self._offer
        if offer is None or not is_lone(spec) or not offer.resources.contains(spec.resources):
            return None
        if not job_shape_of("", spec, False).welcomes(offer):
            return None
        self._clear()
        return offer

    def drop(self, offer_id: str) -> None:
        """An offer has ended, perhaps this one."""
        if self._offer is not None and self._offer.offer_id == offer_id:
            self._clear()

    def give_back(self) -> None:
        """Keep nothing."""
        if (offer := self._offer) is not None:
            self._clear()
            self.refuse(offer)

    def close(self) -> None:
        """The driver gives back what it holds."""
        self._clear()

    def _clear(self) -> None:
        self._offer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
