"""Deletes what an earlier release has declared on RabbitMQ in another form, for `bmesos deploy reset-topology`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from broker_mesos.bus.open import CLOCK
from broker_mesos.bus.rabbitmq.earlier import Earlier, EarlierTopology
from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.errors import Conflict
from broker_mesos.frameworks.registry import FRAMEWORKS
from broker_mesos.runtime.settings import Settings
from broker_mesos.store.redis.store import Members, RedisStore

MAX_NAMES = 5
"""Maximum number of queues that an error names."""


class Reset(NamedTuple):
    """What has an earlier form, and the queues with consumers."""

    earlier: list[Earlier]
    used: list[str]


def reset_topology(
    settings: Settings, agents: Iterable[str], frameworks: Iterable[str], *, force: bool, only_list: bool
) -> Reset:
    """Delete exchanges and queues of an earlier release; with ``only_list`` nothing is deleted. Agents and frameworks
    are those that the store knows, and the given ones. Raises Conflict if a queue has a consumer, unless ``force`` is
    set, and BusUnavailable, StoreUnavailable, InvalidInput."""
    url = settings.need_broker()
    known = Members(0, set(), set())
    if settings.store_url is not None:
        known = asyncio.run(_members(settings))
    with EarlierTopology(url, Topology(settings.cluster), settings.tls_files()) as topology:
        found = topology.find(
            _queues(known.cells, known.agents.union(agents), known.frameworks.union(frameworks, FRAMEWORKS))
        )
        if found.used and found.earlier and not (force or only_list):
            more = f" and {len(found.used) - MAX_NAMES} more" if len(found.used) > MAX_NAMES else ""
            raise Conflict(
                f"somebody consumes {', '.join(found.used[:MAX_NAMES])}{more}: stop all daemons and frameworks of the "
                "cluster first; --force does not wait for that"
            )
        if not only_list:
            topology.delete(found.earlier)
    return Reset(found.earlier, found.used)


async def _members(settings: Settings) -> Members:
    store = RedisStore(
        settings.need_store(),
        cluster=settings.cluster,
        clock=CLOCK,
        timeout=settings.store_silence,
        tls=settings.tls_files(),
    )
    await store.open(settings.connect_timeout)
    try:
        return await store.members()
    finally:
        await store.close()


def _queues(cells: int, agents: Iterable[str], frameworks: Iterable[str]) -> Iterator[Queue]:
    yield Queue(QueueKind.OPERATOR_MASTER)
    yield Queue(QueueKind.DEAD_LETTERS)
    for cell in range(cells):
        yield Queue(QueueKind.CELL_INBOX, str(cell))
    for ident in sorted(agents):
        yield Queue(QueueKind.AGENT_COMMANDS, ident)
    for ident in sorted(frameworks):
        for kind in (QueueKind.FRAMEWORK_OFFERS, QueueKind.FRAMEWORK_EVENTS):
            yield Queue(kind, ident)
        if ident in FRAMEWORKS:
            yield Queue(QueueKind.OPERATOR_FRAMEWORK, ident)
