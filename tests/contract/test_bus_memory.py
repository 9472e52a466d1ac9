"""The memory broker's own doors: faults on demand, and a clock that a test moves."""

from __future__ import annotations

import asyncio

import pytest

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.errors import BusUnavailable
from broker_mesos.ports.bus import ConsumerClosed
from tests.contract.bus_parties import SystemClock, bodies, message, take

INBOX = Queue(QueueKind.CELL_INBOX, "0")
EVENTS = Queue(QueueKind.FRAMEWORK_EVENTS, "a")


class HandClock(SystemClock):
    """Time that only a test moves."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def broker(clock: HandClock) -> MemoryBroker:
    return MemoryBroker(clock)


async def opened(broker: MemoryBroker) -> MemoryBus:
    bus = MemoryBus(broker)
    await bus.open(1.0)
    return bus


async def test_confirms_come_later_and_are_lost_with_the_connection(broker: MemoryBroker) -> None:
    bus = await opened(broker)
    await bus.declare(EVENTS)
    confirmed = bus.publish(message(addresses.events("a"), 1))
    assert not confirmed.done()
    assert await confirmed is True
    lost = bus.publish(message(addresses.events("a"), 2))
    bus.disconnect()
    with pytest.raises(BusUnavailable):
        await lost
    bus.reconnect()
    assert await bodies(await bus.consume(EVENTS), 2) == ["1", "2"]


async def test_what_a_killed_process_held_goes_to_the_next_one(broker: MemoryBroker) -> None:
    one, two = await opened(broker), await opened(broker)
    active, standby = await one.consume(INBOX, prefetch=2), await two.consume(INBOX)
    for n in range(4):
        one.publish(message(addresses.updates(0), n))
    held = await take(active, 2)
    active.acknowledge(held[:1])
    one.disconnect()
    got = await take(standby, 3)
    assert [(each.body, each.redelivered) for each in got] == [(b"1", True), (b"2", True), (b"3", False)]
    with pytest.raises(ConsumerClosed):
        await active.receive()
    waiting = asyncio.create_task(one.consume(INBOX))
    one.reconnect()
    await waiting
    assert one.connected


async def test_a_stopped_broker_fails_everyone_until_it_starts(broker: MemoryBroker, clock: HandClock) -> None:
    bus = await opened(broker)
    broker.stop()
    with pytest.raises(BusUnavailable):
        await bus.publish(message(addresses.updates(0)))
    for attempt in (bus.declare(EVENTS), bus.consumers(EVENTS), bus.delete(EVENTS), bus.writable()):
        with pytest.raises(BusUnavailable):
            await attempt
    with pytest.raises(BusUnavailable):
        await MemoryBus(broker).open(0.0)
    clock.now += 5
    broker.start()
    await bus.consume(INBOX)
    assert bus.connected_since == clock.now


async def test_a_wiped_broker_keeps_only_what_is_declared_again(broker: MemoryBroker) -> None:
    bus = await opened(broker)
    await bus.declare(EVENTS)
    await bus.consume(INBOX)
    await bus.publish(message(addresses.events("a")))
    broker.wipe()
    consumer = await bus.consume(EVENTS)
    assert await bus.consumers(INBOX) is None
    assert await bus.publish(message(addresses.events("a"), "new", mandatory=True))
    assert await bodies(consumer, 1) == ["new"]


async def test_messages_expire_at_the_head_of_their_queue_only(broker: MemoryBroker, clock: HandClock) -> None:
    bus = await opened(broker)
    await bus.declare(EVENTS)
    to = addresses.events("a")
    for body, expiration in (("old", 1.0), ("long", 10.0), ("hidden", 1.0)):
        await bus.publish(message(to, body, expiration=expiration))
    clock.now += 2
    consumer = await bus.consume(EVENTS, prefetch=1)
    [first] = await take(consumer, 1)
    assert first.body == b"long"
    consumer.acknowledge([first])
    await bus.publish(message(to, "next"))
    assert await bodies(consumer, 1) == ["next"]
