"""The Bus contract: the same behaviour over memory and over a real RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import QueueKind
from broker_mesos.errors import BusUnavailable, Conflict, InvalidInput
from broker_mesos.ports.bus import Consumer, ConsumerClosed, QueueInUse
from tests.contract.bus_parties import (
    PATIENCE,
    Parties,
    bodies,
    message,
    take,
)


async def confirmed(bus: Any, *messages: Any) -> list[bool]:
    async with asyncio.timeout(PATIENCE):
        return list(await asyncio.gather(*(bus.publish(each) for each in messages)))


async def becomes(read: Callable[[], Awaitable[Any]], wanted: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while await read() != wanted:
            await asyncio.sleep(0.01)


def waits(consumer: Consumer) -> asyncio.Task[Any]:
    return asyncio.create_task(consumer.receive())


async def test_messages_arrive_in_the_order_of_publishing(parties: Parties) -> None:
    bus = await parties.bus()
    consumer = await bus.consume(parties.queue(QueueKind.CELL_INBOX, "0"))
    sent = [message(addresses.updates(0) if n % 2 else addresses.calls(None), n) for n in range(200)]
    assert await confirmed(bus, *sent) == [True] * 200
    assert await bodies(consumer, 200) == [str(n) for n in range(200)]


async def test_a_message_arrives_as_it_was_sent(parties: Parties) -> None:
    bus = await parties.bus()
    consumer = await bus.consume(addresses.Queue(QueueKind.AGENT_COMMANDS, "a1"))
    body = bytes(range(256))
    sent = message(
        addresses.commands("a1"),
        body,
        message_id="m1",
        reply_to="somewhere",
        correlation_id="c1",
        term=1_700_000_000_123,
        headers={"bmesos-reason": "why"},
        persistent=False,
        expiration=60.0,
    )
    assert await confirmed(bus, sent) == [True]
    [got] = await take(consumer, 1)
    assert (got.type, got.body, got.message_id) == ("test", body, "m1")
    assert (got.reply_to, got.correlation_id, got.term) == ("somewhere", "c1", 1_700_000_000_123)
    assert got.headers["bmesos-reason"] == "why" and got.headers["bmesos-schema"] == "1"
    assert got.routing_key == "agent.a1" and not got.redelivered
    assert got.exchange == Topology(parties.cluster).exchange(addresses.Exchange.COMMANDS)
    assert got.user_id == bus.user


async def test_unroutable_is_told_for_mandatory_messages_only(parties: Parties) -> None:
    bus = await parties.bus()
    await bus.declare(parties.queue(QueueKind.FRAMEWORK_EVENTS, "here"))
    here, away = addresses.events("here"), addresses.events("away")
    # the same message id to two places: a return must not settle its twin
    assert await confirmed(
        bus,
        message(here, 1, mandatory=True),
        message(away, 1, mandatory=True),
        message(away, 2, mandatory=False),
        message(here, 1, mandatory=True),
    ) == [True, False, True, True]


async def test_unacknowledged_messages_come_again_in_order_after_a_close(parties: Parties) -> None:
    bus = await parties.bus()
    queue = parties.queue(QueueKind.CELL_INBOX, "0")
    consumer = await bus.consume(queue, prefetch=10)
    await confirmed(bus, *(message(addresses.updates(0), n) for n in range(20)))
    first = await take(consumer, 4)
    consumer.acknowledge([first[2]])
    await consumer.close()
    await consumer.close()
    with pytest.raises(ConsumerClosed):
        await consumer.receive()
    consumer.acknowledge(first)  # ignored
    again = await take(await bus.consume(queue), 19)
    assert [int(each.body) for each in again] == [0, 1, *range(3, 20)]
    # the acknowledged one may have made room for one more
    assert all(each.redelivered for each in again[:9]) and not any(each.redelivered for each in again[10:])


async def test_what_is_acknowledged_right_before_the_bus_is_closed_does_not_come_again(
    parties: Parties,
) -> None:
    here, leaving = await parties.bus(), await parties.bus()
    queue = parties.queue(QueueKind.CELL_INBOX, "0")
    consumer = await leaving.consume(queue)
    await confirmed(here, message(addresses.updates(0), "handled"))
    consumer.acknowledge(await take(consumer, 1))
    await leaving.close()
    await confirmed(here, message(addresses.updates(0), "new"))
    assert await bodies(await here.consume(queue), 1) == ["new"]


async def test_acknowledged_messages_do_not_come_again(parties: Parties) -> None:
    bus = await parties.bus()
    queue = parties.queue(QueueKind.CELL_INBOX, "0")
    consumer = await bus.consume(queue, prefetch=5)
    await confirmed(bus, *(message(addresses.updates(0), n) for n in range(12)))
    for _ in range(3):
        batch = await take(consumer, 4)
        consumer.acknowledge(list(reversed(batch)))
        consumer.acknowledge(batch)  # a second time is ignored
    await consumer.close()
    await confirmed(bus, message(addresses.updates(0), "last"))
    assert await bodies(await bus.consume(queue), 1) == ["last"]


async def test_a_rejected_message_comes_again_or_is_dropped(parties: Parties) -> None:
    bus = await parties.bus()
    consumer = await bus.consume(parties.queue(QueueKind.FRAMEWORK_EVENTS, "a"), prefetch=1)
    await confirmed(bus, *(message(addresses.events("a"), n) for n in range(2)))
    [first] = await take(consumer, 1)
    consumer.reject(first, requeue=True)
    [again] = await take(consumer, 1)
    assert (again.body, again.redelivered) == (b"0", True)
    consumer.reject(again, requeue=False)
    assert await bodies(consumer, 1) == ["1"]


async def test_a_single_active_consumer_holds_the_queue_until_it_closes(parties: Parties) -> None:
    one, two = await parties.bus(), await parties.bus()
    queue = parties.queue(QueueKind.CELL_INBOX, "3")
    active = await one.consume(queue, prefetch=5)
    standby = await two.consume(queue)
    waiting = waits(standby)
    await confirmed(one, *(message(addresses.updates(3), n) for n in range(10)))
    assert await bodies(active, 5) == ["0", "1", "2", "3", "4"]
    # A round trip on the standby's connection: nothing came before. (3.10 does not count the standbys of a
    # quorum queue.)
    assert await two.consumers(queue)
    assert not waiting.done()
    await active.close()
    async with asyncio.timeout(PATIENCE):
        got = [each.body.decode() for each in await waiting]
    got += await bodies(standby, 10 - len(got))
    assert got == [str(n) for n in range(10)]


async def test_a_closed_bus_hands_its_queues_over(parties: Parties) -> None:
    one, two = await parties.bus(), await parties.bus()
    queue = parties.queue(QueueKind.CELL_INBOX, "3")
    active, standby = await one.consume(queue), await two.consume(queue)
    await confirmed(two, *(message(addresses.updates(3), n) for n in range(3)))
    assert len(await take(active, 3)) == 3
    await one.close()
    await one.close()
    assert await bodies(standby, 3) == ["0", "1", "2"]
    with pytest.raises(ConsumerClosed):
        await active.receive()
    with pytest.raises(BusUnavailable):
        await one.publish(message(addresses.updates(3)))
    with pytest.raises(BusUnavailable):
        await one.writable()
    with pytest.raises(BusUnavailable):
        await one.consume(queue)
    assert not one.connected


async def test_competing_consumers_share(parties: Parties) -> None:
    one, two = await parties.bus(), await parties.bus()
    queue = parties.queue(QueueKind.FRAMEWORK_EVENTS, "batch", competing=True)
    first, second = await one.consume(queue, prefetch=1), await two.consume(queue, prefetch=1)
    await confirmed(one, *(message(addresses.events("batch"), n) for n in range(3)))
    got_first, got_second = await take(first, 1), await take(second, 1)
    assert {got_first[0].body, got_second[0].body} == {b"0", b"1"}
    second.acknowledge(got_second)
    assert await bodies(second, 1) == ["2"]


async def test_every_owner_has_its_own_heartbeats(parties: Parties) -> None:
    one, two = await parties.bus(), await parties.bus()
    queue = addresses.Queue(QueueKind.CELL_HEARTBEATS, "0")
    first, second = await one.consume(queue), await two.consume(queue)
    assert first.queue_name != second.queue_name
    sent = [message(addresses.heartbeats(0), "one"), message(addresses.heartbeats(None), "all")]
    assert await confirmed(one, *sent) == [True, True]
    assert await bodies(first, 2) == ["one", "all"]
    assert await bodies(second, 2) == ["one", "all"]
    await first.close()
    await second.close()
    assert await confirmed(two, message(addresses.heartbeats(0), mandatory=True)) == [False]


async def test_the_feed_is_filtered_by_topic(parties: Parties) -> None:
    bus = await parties.bus()
    jobs = await bus.consume(addresses.Queue(QueueKind.FEED, "job.*"))
    below = await bus.consume(addresses.Queue(QueueKind.FEED, "job.#"))
    all_of_it = await bus.consume(addresses.Queue(QueueKind.FEED, "#"))
    topics = ["job.7", "task.finished", "job.7.done", "job"]
    await confirmed(bus, *(message(addresses.feed(topic), topic) for topic in topics))
    await confirmed(bus, message(addresses.feed("job.end"), "end"))
    assert await bodies(jobs, 2) == ["job.7", "end"]
    assert await bodies(below, 4) == ["job.7", "job.7.done", "job", "end"]
    assert await bodies(all_of_it, 5) == [*topics, "end"]


async def test_a_message_without_time_to_live_reaches_only_who_waits(parties: Parties) -> None:
    bus = await parties.bus()
    queue = parties.queue(QueueKind.FRAMEWORK_OFFERS, "f")
    await bus.declare(queue)
    to = addresses.offers("f")
    await confirmed(bus, message(to, "nobody", expiration=0.0), message(to, "kept", expiration=60.0))
    consumer = await bus.consume(queue)
    assert await bodies(consumer, 1) == ["kept"]
    await confirmed(bus, message(to, "somebody", expiration=0.0))
    assert await bodies(consumer, 1) == ["somebody"]


async def test_a_full_queue_drops_its_oldest(parties: Parties) -> None:
    bus = await parties.bus()
    queue = parties.queue(QueueKind.FRAMEWORK_OFFERS, "f")
    await bus.declare(queue)
    last: Any = None
    for n in range(10_050):
        await bus.writable()
        last = bus.publish(message(addresses.offers("f"), n, persistent=False))
    assert await last
    consumer = await bus.consume(queue, prefetch=20_000)
    assert await bodies(consumer, 10_000) == [str(n) for n in range(50, 10_050)]


async def test_a_request_is_answered_into_the_reply_queue(parties: Parties) -> None:
    asking, answering = await parties.bus(), await parties.bus()
    requests = await answering.consume(parties.queue(QueueKind.OPERATOR_MASTER))
    key = addresses.reply_key(asking.user, "7")
    replies = await asking.consume(addresses.Queue(QueueKind.REPLY, key))
    request = message(addresses.operator_master(), "ask", reply_to=key, correlation_id="c7", mandatory=True)
    assert await confirmed(asking, request) == [True]
    [got] = await take(requests, 1)
    answer = message(addresses.reply(got.reply_to), "answer", correlation_id=got.correlation_id, mandatory=True)
    assert await confirmed(answering, answer) == [True]
    [reply] = await take(replies, 1)
    assert (reply.body, reply.correlation_id) == (b"answer", "c7")
    await replies.close()
    assert await confirmed(answering, answer) == [False]


async def test_consumers_are_counted(parties: Parties) -> None:
    bus = await parties.bus()
    queue = parties.queue(QueueKind.FRAMEWORK_OFFERS, "f", competing=True)
    assert await bus.consumers(queue) is None
    await bus.declare(queue)
    assert await bus.consumers(queue) == 0
    consumer = await bus.consume(queue)
    await bus.consume(queue)
    assert await bus.consumers(queue) == 2
    await consumer.close()
    # A quorum queue learns of a closed channel a moment later.
    await becomes(lambda: bus.consumers(queue), 1)
    with pytest.raises(InvalidInput):
        await bus.consumers(addresses.Queue(QueueKind.REPLY))


async def test_a_queue_is_inspected_without_touching_it(parties: Parties) -> None:
    bus = await parties.bus()
    queue = parties.queue(QueueKind.FRAMEWORK_EVENTS, "a")
    assert await bus.inspect(queue) is None
    await bus.declare(queue)
    await confirmed(bus, *(message(addresses.events("a"), n) for n in range(3)))
    assert await bus.inspect(queue) == (3, 0)
    consumer = await bus.consume(queue)
    await take(consumer, 3)
    # What is handed out does not wait any more.
    assert await bus.inspect(queue) == (0, 1)
    await consumer.close()
    await becomes(lambda: bus.inspect(queue), (3, 0))
    with pytest.raises(InvalidInput):
        await bus.inspect(addresses.Queue(QueueKind.REPLY))


async def test_health_names_the_server_while_it_answers(parties: Parties) -> None:
    bus = await parties.bus()
    health = await bus.health()
    assert health.server and health.connected and not health.blocked and not health.error
    assert 0 <= health.round_trip < PATIENCE
    await bus.close()
    with pytest.raises(BusUnavailable):
        await bus.health()


async def test_deleting_a_queue_ends_its_consumers(parties: Parties) -> None:
    one, two = await parties.bus(), await parties.bus()
    queue = parties.queue(QueueKind.FRAMEWORK_EVENTS, "f")
    consumer = await one.consume(queue)
    waiting = waits(consumer)
    await two.delete(queue)
    await two.delete(queue)
    with pytest.raises(ConsumerClosed):
        async with asyncio.timeout(PATIENCE):
            await waiting
    assert await two.consumers(queue) is None
    assert await confirmed(one, message(addresses.events("f"), mandatory=True)) == [False]


async def test_a_queue_declared_otherwise_is_a_conflict(parties: Parties) -> None:
    bus = await parties.bus()
    await bus.declare(parties.queue(QueueKind.FRAMEWORK_EVENTS, "f"))
    other = addresses.Queue(QueueKind.FRAMEWORK_EVENTS, "f", competing=True)
    name = Topology(parties.cluster).queue_spec(other).name
    for attempt in (bus.declare, bus.consume):
        with pytest.raises(Conflict, match=name):
            await attempt(other)
    assert await bus.consumers(other) == 0


async def test_a_conflict_names_the_argument_and_advises_no_harm(parties: Parties) -> None:
    bus = await parties.bus()
    await bus.declare(parties.queue(QueueKind.FRAMEWORK_EVENTS, "f"))
    with pytest.raises(Conflict, match="x-single-active-consumer true instead of none") as caught:
        await bus.declare(addresses.Queue(QueueKind.FRAMEWORK_EVENTS, "f", competing=True))
    assert "delete" not in str(caught.value) and "\n" not in str(caught.value)


async def test_a_second_agent_of_one_id_is_refused_its_commands(parties: Parties) -> None:
    one, two = await parties.bus(), await parties.impatient_bus()
    queue = addresses.Queue(QueueKind.AGENT_COMMANDS, "a")
    first = await one.consume(queue)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(QueueInUse, match=r"agent-commands\.a.*same id"):
            await two.consume(queue)
    # The first one has lost nothing by it.
    assert await confirmed(one, message(addresses.commands("a"), "mine")) == [True]
    assert await bodies(first, 1) == ["mine"]
    await first.close()
    second = await two.consume(queue)
    assert await confirmed(one, message(addresses.commands("a"), "yours")) == [True]
    assert await bodies(second, 1) == ["yours"]


@pytest.mark.parametrize("term", [-1, 2**52, 2**63 - 1])
async def test_a_term_out_of_bounds_is_a_problem_of_the_delivery(parties: Parties, term: int) -> None:
    bus = await parties.bus()
    consumer = await bus.consume(addresses.Queue(QueueKind.AGENT_COMMANDS, "a"))
    await confirmed(
        bus, message(addresses.commands("a"), 1, term=term), message(addresses.commands("a"), 2, term=2**52 - 1)
    )
    bad, good = await take(consumer, 2)
    assert bad.term == 0 and str(term) in bad.problem
    assert (good.term, type(good.term), good.problem) == (2**52 - 1, int, "")


@pytest.mark.parametrize("expiration", [1e12, float("inf")])
async def test_an_endless_time_to_live_is_cut_to_what_a_broker_takes(parties: Parties, expiration: float) -> None:
    bus = await parties.bus()
    consumer = await bus.consume(addresses.Queue(QueueKind.AGENT_COMMANDS, "a"))
    assert await confirmed(bus, message(addresses.commands("a"), "kept", expiration=expiration)) == [True]
    assert await bodies(consumer, 1) == ["kept"]


async def test_an_oversized_body_is_refused(parties: Parties) -> None:
    bus = await parties.bus()
    with pytest.raises(InvalidInput, match="2097152 bytes"):
        await bus.publish(message(addresses.dead(), bytes(2 << 20)))
    parties.queue(QueueKind.DEAD_LETTERS)
    assert await confirmed(bus, message(addresses.dead(), bytes(1 << 20))) == [True]


async def test_two_clusters_on_one_broker_are_apart(parties: Parties) -> None:
    other = f"{parties.cluster}-b"
    one, two = await parties.bus(), await parties.bus(cluster=other)
    mine = await one.consume(parties.queue(QueueKind.CELL_INBOX, "0"))
    yours = await two.consume(parties.queue(QueueKind.CELL_INBOX, "0", cluster=other))
    await confirmed(one, message(addresses.updates(0), "mine"))
    await confirmed(two, message(addresses.updates(0), "yours"))
    assert await bodies(mine, 1) == ["mine"]
    assert await bodies(yours, 1) == ["yours"]


async def test_a_full_window_pushes_back_and_then_has_room_again(parties: Parties) -> None:
    bus = await parties.bus(window=10)
    queue = parties.queue(QueueKind.FRAMEWORK_EVENTS, "a")
    await bus.declare(queue)
    pending = [bus.publish(message(addresses.events("a"), n)) for n in range(11)]
    assert pending[10].done() and not pending[9].done()
    with pytest.raises(BusUnavailable, match="unconfirmed"):
        await pending[10]
    async with asyncio.timeout(PATIENCE):
        await bus.writable()
        assert await asyncio.gather(*pending[:10]) == [True] * 10
    assert await confirmed(bus, message(addresses.events("a"), "next")) == [True]
    assert await bodies(await bus.consume(queue), 11) == [*map(str, range(10)), "next"]


async def test_a_restart_of_the_broker_is_survived(restartable: Parties) -> None:
    bus = await restartable.bus()
    inbox = restartable.queue(QueueKind.CELL_INBOX, "0")
    commands = restartable.queue(QueueKind.FRAMEWORK_EVENTS, "a")
    await bus.declare(commands)
    consumer = await bus.consume(inbox)
    replies = await bus.consume(addresses.Queue(QueueKind.REPLY, "r.guest.1"))
    await confirmed(bus, *(message(addresses.updates(0), n) for n in range(3)))
    await confirmed(bus, *(message(addresses.events("a"), n) for n in range(3)))
    assert len(await take(consumer, 3)) == 3
    since = bus.connected_since
    waiting = waits(consumer)
    await restartable.restart()
    for ended in (waiting, replies.receive()):
        with pytest.raises(ConsumerClosed):
            async with asyncio.timeout(PATIENCE):
                await ended
    async with asyncio.timeout(PATIENCE):
        consumer = await bus.consume(inbox)
        survivors = await bus.consume(commands)
    assert [(each.body, each.redelivered) for each in await take(consumer, 3)] == [
        (b"0", True),
        (b"1", True),
        (b"2", True),
    ]
    assert await bodies(survivors, 3) == ["0", "1", "2"]
    assert bus.connected_since > since


@pytest.mark.parametrize("cluster", ["", "two words", "a" * 41, "dot.ted", "ü"])
def test_a_cluster_name_that_is_unsafe_in_names_is_refused(cluster: str) -> None:
    with pytest.raises(InvalidInput):
        Topology(cluster)
