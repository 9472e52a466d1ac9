"""What only a real RabbitMQ can do to a bus: refuse it, pause, raise an alarm, lose an exchange."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import pika
import pytest

from broker_mesos.bus.rabbitmq import RabbitBus, Timeouts
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.topology import Topology
from broker_mesos.core.api.cluster import Hello
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Exchange, QueueKind
from broker_mesos.errors import BusUnavailable, InvalidInput, Unavailable
from broker_mesos.ports.bus import ConsumerClosed
from tests.contract.bus_parties import PATIENCE, RabbitParties, SystemClock, message, take
from tests.servers import RabbitMQServer, RedisServer, free_port


@pytest.fixture
async def parties(rabbitmq_server: RabbitMQServer, cluster_name: str) -> AsyncIterator[RabbitParties]:
    found = RabbitParties(cluster_name, rabbitmq_server)
    yield found
    await found.close()


@pytest.fixture
async def disturbed(private_rabbitmq: RabbitMQServer, cluster_name: str) -> AsyncIterator[RabbitParties]:
    """Parties on a server of their own."""
    found = RabbitParties(cluster_name, private_rabbitmq)
    yield found
    await found.close()


async def refusal(bus: Any, timeout: float) -> BusUnavailable:
    """The error of opening a bus, which must come well before the test's patience is at its end."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BusUnavailable) as caught:
            await bus.open(timeout)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    return caught.value


async def reconnected(bus: RabbitBus) -> None:
    """Wait until both connections stand."""
    async with asyncio.timeout(PATIENCE):
        await bus.wait_connected()


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("guest:guest", "guest:secret"), "check user and password"),
        (("guest:guest", "nobody:secret"), "refused the user 'nobody'"),
    ],
)
async def test_wrong_credentials_fail_at_once(parties: RabbitParties, change: tuple[str, str], hint: str) -> None:
    bus = parties.make("x", url=parties.server.url.replace(*change))
    assert hint in str(await refusal(bus, timeout=600))


async def test_giving_up_makes_no_noise_at_whatever_moment(parties: RabbitParties) -> None:
    """pika trips over a connection that is told to close in the midst of a handshake that just fails."""
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    url = parties.server.url.replace("guest:guest", "guest:secret")
    # The broker holds a refusal back for a second.
    limits = [0.004 * step for step in range(1, 6)] + [0.98 + 0.02 * step for step in range(1, 16)]
    await asyncio.gather(*(refusal(parties.make("x", url=url), limit) for limit in limits))
    gc.collect()
    assert not heard


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("amqp://", "amqps://"), "does not use TLS at this port"),
        (("amqp://", " AMQP://"), ""),
        (("@", "@"), ""),
    ],
)
async def test_tls_to_a_plain_port_is_named_and_capitals_are_not_minded(
    parties: RabbitParties, change: tuple[str, str], hint: str
) -> None:
    bus = parties.make("x", url=parties.server.url.replace(*change) + ("" if hint else "/"))
    if hint:
        assert hint in str(await refusal(bus, timeout=1.0))
    else:  # as Celery writes the vhost /
        await bus.open(PATIENCE)
        await bus.close()


async def test_another_server_at_the_port_is_named(redis_server: RedisServer, cluster_name: str) -> None:
    url = f"amqp://u:secret@127.0.0.1:{redis_server.port}/"
    bus = RabbitParties(cluster_name, None).make("x", url=url)
    assert "that port is of another server" in str(await refusal(bus, timeout=0.5))


async def test_an_unknown_vhost_fails_at_once(parties: RabbitParties) -> None:
    bus = parties.make("x", url=parties.server.url + "nowhere")
    assert "vhost 'nowhere'" in str(await refusal(bus, timeout=600))


async def test_an_unreachable_broker_fails_when_the_time_is_over(cluster_name: str) -> None:
    port = free_port()
    bus = RabbitParties(cluster_name, None).make("x", url=f"amqp://u:secret@127.0.0.1:{port}/")
    assert f"127.0.0.1:{port}" in str(await refusal(bus, timeout=0.3))


@pytest.mark.parametrize(
    "url",
    ["not-a-url", "http://u:secret@h/", "amqp://u:secret@h:port/", "amqp://u:secret@[::1", "amqp://u:secret@h/a/b"],
)
async def test_a_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        RabbitParties("x", None).make("x", url=url)
    assert "secret" not in str(caught.value)


async def test_a_foreign_message_does_no_harm(parties: RabbitParties) -> None:
    bus = await parties.bus()
    queue = addresses.Queue(QueueKind.AGENT_COMMANDS, "a")
    consumer = await bus.consume(queue)
    exchange = Topology(parties.cluster).exchange(Exchange.COMMANDS)

    def publish_anything() -> None:
        with pika.BlockingConnection(pika.URLParameters(parties.server.url)) as connection:
            channel = connection.channel()
            strange = pika.BasicProperties(headers={"bmesos-term": "high", "nested": {"a": [1]}, "none": None, "n": 7})
            channel.basic_publish(exchange, "agent.a", b"\xff\x00", strange)
            channel.basic_publish(exchange, "agent.a", b"")

    await asyncio.to_thread(publish_anything)
    strange, bare = await take(consumer, 2)
    assert (strange.type, strange.message_id, strange.body, strange.term) == ("", "", b"\xff\x00", 0)
    assert "'high'" in strange.problem and not bare.problem
    assert strange.headers == {"n": "7"}
    assert (bare.type, bare.body, bare.headers) == ("", b"", {})


async def test_a_lost_exchange_fails_what_is_pending_and_comes_back(parties: RabbitParties) -> None:
    bus = await parties.bus()
    queue = parties.queue(QueueKind.FRAMEWORK_EVENTS, "a")
    await bus.declare(queue)
    exchange = Topology(parties.cluster).exchange(Exchange.EVENTS)

    def delete_exchange() -> None:
        with pika.BlockingConnection(pika.URLParameters(parties.server.url)) as connection:
            connection.channel().exchange_delete(exchange)

    await asyncio.to_thread(delete_exchange)
    with pytest.raises(BusUnavailable, match="no exchange"):
        await bus.publish(message(addresses.events("a")))
    await reconnected(bus)
    await bus.declare(queue)
    assert await bus.publish(message(addresses.events("a"), mandatory=True))


async def test_a_passing_refusal_ends_no_running_consumer(disturbed: RabbitParties, caplog: Any) -> None:
    """An operator takes a permission away, and gives it back."""
    queue = disturbed.queue(QueueKind.CELL_INBOX, "0")
    bus = await disturbed.bus()
    consumer = await bus.consume(queue)
    ctl = disturbed.server.ctl
    await asyncio.to_thread(ctl, "set_permissions", "guest", "^$", ".*", ".*")
    with pytest.raises(BusUnavailable, match=r"permissions configure, write and read.*list_permissions"):
        await bus.consume(disturbed.queue(QueueKind.CELL_INBOX, "1"))
    await consumer.close()
    with caplog.at_level(logging.WARNING):
        again = asyncio.create_task(bus.consume(queue))
        async with asyncio.timeout(PATIENCE):
            while "trying again" not in caplog.text:
                await asyncio.sleep(0.01)
    assert "cell-inbox.0" in caplog.text and not again.done()
    await asyncio.to_thread(ctl, "set_permissions", "guest", ".*", ".*", ".*")
    async with asyncio.timeout(PATIENCE):
        await again
        assert await bus.publish(message(addresses.updates(0), "back", mandatory=True))
    assert (await take(again.result(), 1))[0].body == b"back"


async def test_a_passing_conflict_ends_no_running_consumer(parties: RabbitParties) -> None:
    """Another release has declared the queue while this one was away."""
    queue = parties.queue(QueueKind.FRAMEWORK_EVENTS, "f")
    bus = await parties.bus()
    name = Topology(parties.cluster).queue_spec(queue).name
    consumer = await bus.consume(queue)

    await parties.administer(lambda channel: (channel.queue_delete(name), channel.queue_declare(name, durable=True)))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConsumerClosed):
            await consumer.receive()
    again = asyncio.create_task(bus.consume(queue))
    assert await bus.consumers(queue) == 0
    await asyncio.wait([again], timeout=0.2)
    assert not again.done()
    await parties.administer(lambda channel: channel.queue_delete(name))
    async with asyncio.timeout(PATIENCE):
        await again


async def test_a_restarting_agent_outlives_its_old_connection(parties: RabbitParties) -> None:
    """The broker knows a dead machine's connection to be dead only after its heartbeats."""
    old, new = await parties.bus(), await parties.bus(heartbeat=1)
    queue = addresses.Queue(QueueKind.AGENT_COMMANDS, "a")
    await old.consume(queue)
    restarted = asyncio.create_task(new.consume(queue))
    await asyncio.wait([restarted], timeout=1.0)
    assert not restarted.done()
    await old.close()
    async with asyncio.timeout(PATIENCE):
        await restarted


async def test_whoever_consumes_again_can_publish_as_well(parties: RabbitParties) -> None:
    """A message that must wait for the other connection would wait for its repeat, which is seconds away."""
    bus = await parties.bus()
    queue = addresses.Queue(QueueKind.AGENT_COMMANDS, "a")
    for lost in (0, 1, 0, 1):
        consumer = await bus.consume(queue)
        bus._links[lost]._terminate()
        bus._links[1 - lost]._terminate()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConsumerClosed):
                await consumer.receive()
            consumer = await bus.consume(queue)
            assert await bus.publish(message(addresses.commands("a"), lost))
            [got] = await take(consumer, 1)
        assert got.body == str(lost).encode()
        consumer.acknowledge([got])
        await consumer.close()


async def test_acknowledgements_gather_and_are_said_all_the_same(parties: RabbitParties) -> None:
    bus = await parties.bus()
    queue = parties.queue(QueueKind.CELL_INBOX, "0")
    consumer = await bus.consume(queue, prefetch=40)
    raw, said, first = consumer._channel.raw, [], asyncio.Event()
    tell = raw.basic_ack

    def watched(tag: int, multiple: bool = False) -> None:
        said.append((tag, multiple))
        first.set()
        tell(tag, multiple=multiple)

    raw.basic_ack = watched
    for n in range(5):
        assert await bus.publish(message(addresses.updates(0), n))
        consumer.acknowledge(await take(consumer, 1))
    async with asyncio.timeout(PATIENCE):
        await first.wait()
        while said[-1] != (5, True):
            await asyncio.sleep(0.01)
    before = len(said)
    for n in range(12):
        assert await bus.publish(message(addresses.updates(0), n))
    for each in await take(consumer, 12):
        consumer.acknowledge([each])
    assert said[before:] == [(15, True)]  # a quarter of what it may hold: nothing waits for room


async def test_an_alarm_makes_writers_wait_and_fails_what_waits_too_long(disturbed: RabbitParties) -> None:
    bus = await disturbed.bus(timeouts=Timeouts(blocked=0.2))
    queue = disturbed.queue(QueueKind.FRAMEWORK_EVENTS, "a")
    await bus.declare(queue)
    to = addresses.events("a")
    await asyncio.to_thread(disturbed.server.ctl, "set_vm_memory_high_watermark", "0")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BusUnavailable, match="alarm"):
            await bus.publish(message(to, 1))
    assert not bus.connected
    assert "blocks publishers: memory alarm" in bus.blocked_reason
    with pytest.raises(BusUnavailable, match="alarm"):
        await bus.publish(message(to, 2))
    requester = Requester(bus, SystemClock(), lambda: "r1")
    with pytest.raises(Unavailable, match="blocks publishers: memory alarm"):
        await requester.request(addresses.operator_master(), Hello(), 0.2)
    await requester.close()
    writable = asyncio.create_task(bus.writable())
    assert await bus.consumers(queue) == 0  # the other connection is not blocked
    assert not writable.done()
    since = bus.connected_since
    await asyncio.to_thread(disturbed.server.ctl, "set_vm_memory_high_watermark", "0.9")
    async with asyncio.timeout(PATIENCE):
        await writable
        assert bus.connected and bus.connected_since > since and not bus.blocked_reason
        assert await bus.publish(message(to, 3))


async def test_a_paused_broker_is_noticed_and_its_return_too(disturbed: RabbitParties) -> None:
    bus = await disturbed.bus(heartbeat=1)
    queue = disturbed.queue(QueueKind.CELL_INBOX, "0")
    consumer = await bus.consume(queue)
    disturbed.server.pause()
    try:
        pending = bus.publish(message(addresses.updates(0), 1))
        late = disturbed.make(disturbed.cluster, timeouts=Timeouts(handshake=0.3))
        assert "does not answer" in str(await refusal(late, timeout=1.0))
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(BusUnavailable):
                await pending
            with pytest.raises(ConsumerClosed):
                await consumer.receive()
            # a count, a declaration, a publish and a close all end as well
            with pytest.raises(BusUnavailable):
                await bus.consumers(queue)
            with pytest.raises(BusUnavailable):
                await bus.publish(message(addresses.updates(0), 2))
            await consumer.close()
    finally:
        disturbed.server.resume()
    await reconnected(bus)
    async with asyncio.timeout(PATIENCE):
        assert await bus.publish(message(addresses.updates(0), 3))
        consumer = await bus.consume(queue)
    assert (await take(consumer, 1))[0].body in (b"1", b"3")


async def test_a_publish_that_nobody_awaits_fails_in_silence(
    parties: RabbitParties, caplog: pytest.LogCaptureFixture
) -> None:
    bus = await parties.bus()
    bus.publish(message(addresses.updates(0), 1))
    bus.publish(message(addresses.updates(0), bytes(2 << 20)))
    await bus.close()
    bus.publish(message(addresses.updates(0), 1))
    with caplog.at_level(logging.ERROR):
        gc.collect()
    assert "never retrieved" not in caplog.text
