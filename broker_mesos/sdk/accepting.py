"""Collects the accepts of one turn of the event loop, so that a framework that has offers of many agents answers with
one message for each cell."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from broker_mesos.core.model.framework import Demand
from broker_mesos.core.protocol.framework_messages import Accept, Acceptance, Accepts
from broker_mesos.core.protocol.wire import MAX_BODY
from broker_mesos.errors import InvalidInput

MAX_ACCEPT_BYTES = MAX_BODY - 256
"""Maximum size of the acceptances in one message with their demand, in bytes of JSON."""


class AcceptBatch(NamedTuple):
    """An acceptance that is to be sent, and the future of the caller."""

    acceptance: Acceptance
    size: int
    demand: Demand | None
    sent: asyncio.Future[bool]
    """Gets the result of publishing the message with this acceptance."""


class Accepting:
    """The acceptances that are to be sent, by cell."""

    def __init__(self) -> None:
        self._by_cell: defaultdict[int, list[AcceptBatch]] = defaultdict(list)

    def add(self, cell: int, acceptance: Acceptance, demand: Demand | None) -> asyncio.Future[bool]:
        """Add an acceptance; ``demand`` is the framework's demand after it. Raises InvalidInput if it is too long."""
        size = len(acceptance.encode()) + (0 if demand is None else len(demand.encode()))
        if size > MAX_ACCEPT_BYTES:
            raise InvalidInput(
                f"{len(acceptance.tasks)} tasks take {size} bytes in one message, {MAX_ACCEPT_BYTES} are allowed; "
                "accept with fewer tasks or operations"
            )
        sent: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._by_cell[cell].append(AcceptBatch(acceptance, size, demand, sent))
        return sent

    def take(self) -> Iterator[tuple[int, list[AcceptBatch]]]:
        """Remove and return all acceptances: cell and acceptances, as many at once as fit into one message."""
        by_cell, self._by_cell = self._by_cell, defaultdict(list)
        for cell, waiting in by_cell.items():
            part: list[AcceptBatch] = []
            size = 0
            for each in waiting:
                if part and size + each.size > MAX_ACCEPT_BYTES:
                    yield cell, part
                    part, size = [], 0
                part.append(each)
                size += each.size
            yield cell, part


def call_of(framework_id: str, some: Sequence[AcceptBatch], acknowledged: tuple[str, ...]) -> Accept | Accepts:
    """The message with some acceptances, the demand after the last of them, and acknowledged task ids."""
    demand = None
    for each in some:
        if each.demand is not None and (demand is None or each.demand.version > demand.version):
            demand = each.demand
    first = some[0].acceptance
    if len(some) > 1:
        return Accepts(
            framework_id=framework_id,
            accepts=tuple(each.acceptance for each in some),
            acknowledged=acknowledged,
            demand=demand,
        )
    return Accept(
        framework_id=framework_id,
        offer_ids=first.offer_ids,
        operations=first.operations,
        tasks=first.tasks,
        refuse_seconds=first.refuse_seconds,
        acknowledged=acknowledged,
        demand=demand,
    )
