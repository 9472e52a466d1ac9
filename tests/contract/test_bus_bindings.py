"""Exchanges and bindings that somebody deletes come back, over memory and over a real RabbitMQ."""

from __future__ import annotations

import asyncio

import pytest

from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Address, Exchange, Queue, QueueKind
from broker_mesos.errors import BusUnavailable
from broker_mesos.ports.bus import Bus, Outgoing
from tests.contract.bus_parties import PATIENCE, Parties, bodies, message


async def routed(bus: Bus, sent: Outgoing) -> int:
    """Publish until the broker routes it, as a sender does that gets it back; returns the attempts."""
    attempts = 0
    async with asyncio.timeout(PATIENCE):
        while True:
            attempts += 1
            try:
                await bus.wait_connected()
                if await bus.publish(sent):
                    return attempts
            except BusUnavailable:
                pass
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("exchange", [Exchange.COMMANDS, Exchange.UPDATES, Exchange.FEED])
async def test_a_deleted_exchange_comes_back_with_the_bindings_of_its_consumers(
    parties: Parties, exchange: Exchange
) -> None:
    sender, receiver = await parties.bus(), await parties.quick_bus()
    queue, to = {
        Exchange.COMMANDS: (Queue(QueueKind.AGENT_COMMANDS, "a"), addresses.commands("a")),
        Exchange.UPDATES: (parties.queue(QueueKind.CELL_INBOX, "0"), addresses.updates(0)),
        Exchange.FEED: (Queue(QueueKind.FEED, "job.#"), addresses.feed("job.1")),
    }[exchange]
    consumer = await receiver.consume(queue)
    await parties.delete_exchange(exchange)
    await routed(sender, message(to, "again", mandatory=True))
    assert await bodies(consumer, 1) == ["again"]


async def test_whoever_finds_an_exchange_gone_binds_the_queues_of_others_that_it_sends_to(parties: Parties) -> None:
    """So that what is sent again right away, in its order, does not come back as unroutable."""
    sender, other = await parties.bus(), await parties.bus()
    await other.declare(parties.queue(QueueKind.FRAMEWORK_EVENTS, "a"))
    await parties.delete_exchange(Exchange.EVENTS)
    sent = message(addresses.events("a"), "again", mandatory=True)
    with pytest.raises(BusUnavailable, match="no exchange"):
        await sender.publish(sent)
    async with asyncio.timeout(PATIENCE):
        await sender.wait_connected()
    assert await sender.publish(sent)


@pytest.mark.parametrize(
    ("kind", "key", "to"),
    [
        (QueueKind.CELL_INBOX, "3", addresses.updates(3)),
        (QueueKind.CELL_INBOX, "3", addresses.calls(3)),
        (QueueKind.FRAMEWORK_OFFERS, "f.1", addresses.offers("f.1")),
        (QueueKind.FRAMEWORK_OFFERS, "f.1", addresses.early_statuses("f.1")),
        (QueueKind.FRAMEWORK_EVENTS, "f.1", addresses.events("f.1")),
        (QueueKind.OPERATOR_MASTER, "", addresses.operator_master()),
        (QueueKind.OPERATOR_FRAMEWORK, "batch", addresses.operator_framework("batch")),
        (QueueKind.DEAD_LETTERS, "", addresses.dead()),
    ],
)
async def test_a_message_that_comes_back_has_its_queue_bound_again(
    parties: Parties, kind: QueueKind, key: str, to: Address
) -> None:
    sender, other = await parties.bus(), await parties.bus()
    queue = parties.queue(kind, key)
    await other.declare(queue)
    topology = Topology(parties.cluster)
    await parties.unbind(queue, to.exchange, topology.route(to)[1])
    sent = message(to, "again", mandatory=True)
    assert not await sender.publish(sent)
    await routed(sender, sent)


async def test_a_message_to_somebody_who_has_left_still_comes_back(parties: Parties) -> None:
    bus = await parties.bus()
    for _ in range(3):
        assert not await bus.publish(message(addresses.commands("nobody"), mandatory=True))
    await bus.consume(Queue(QueueKind.AGENT_COMMANDS, "somebody"))
    assert await bus.publish(message(addresses.commands("somebody"), mandatory=True))


async def test_a_consumer_repeats_its_bindings_although_nobody_gets_a_message_back(parties: Parties) -> None:
    """A call to all cells reaches the others: it does not come back."""
    sender, receiver = await parties.bus(), await parties.quick_bus()
    lost, kept = parties.queue(QueueKind.CELL_INBOX, "0"), parties.queue(QueueKind.CELL_INBOX, "1")
    consumer = await receiver.consume(lost)
    await receiver.consume(kept)
    await parties.unbind(lost, Exchange.CALLS, "all")
    waiting = asyncio.create_task(consumer.receive())
    async with asyncio.timeout(PATIENCE):
        while not waiting.done():
            assert await sender.publish(message(addresses.calls(None), "call", mandatory=True))
            await asyncio.wait([waiting], timeout=0.02)
    assert waiting.result()[0].body == b"call"


async def test_health_reports_a_missing_exchange_and_binds_it_again(parties: Parties) -> None:
    bus = await parties.bus()
    consumer = await bus.consume(Queue(QueueKind.AGENT_COMMANDS, "a"))
    await parties.delete_exchange(Exchange.COMMANDS)
    assert "bmesos" in (await bus.health()).error
    assert not (await bus.health()).error
    assert await bus.publish(message(addresses.commands("a"), "again", mandatory=True))
    assert await bodies(consumer, 1) == ["again"]
