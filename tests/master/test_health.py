"""What masters find out about their servers, asked over the operator API."""

from __future__ import annotations

import time

import pika
import pytest

from broker_mesos.bus.dead_letters import DEAD_LETTERS, letter, park
from broker_mesos.bus.topology import Topology
from broker_mesos.core.api.health import GetHealth, HealthView, MasterReport
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.operator.gateway import Gateway
from broker_mesos.ports.bus import Delivery
from tests.master.places import Place


async def ask(place: Place) -> list[MasterReport]:
    found = await Gateway(await place.requester()).handle(GetHealth(), 20)
    assert isinstance(found, HealthView)
    return list(found.masters)


async def test_every_master_answers_with_what_it_finds(place: Place) -> None:
    for number in range(3):
        await place.master(f"m{number}", cells=2)
    bus = await place.bus()
    delivery = Delivery("PING", b"{}", "m", 1)
    inbox = Queue(QueueKind.CELL_INBOX, "0")
    await park(bus, letter(delivery, inbox, "why", tries=0, letter_id="l", now=0.0))
    reports = await ask(place)
    assert [report.master_id for report in reports] == ["m0", "m1", "m2"]
    for report in reports:
        assert not report.store.error and not report.bus.error and report.bus.connected
        assert abs(report.time - report.store.time) < 1 and abs(report.time - time.time()) < 5
        assert [(cell.cell, cell.error) for cell in report.cells] == [(0, ""), (1, "")]
        assert all(cell.inbox is not None and cell.outbox is not None for cell in report.cells)
        assert all(cell.consumers for cell in report.cells)
        assert report.dead_letters == 1
        assert report.store.in_process is not place.real
        if place.real:
            assert report.store.server.startswith("Redis ") and report.bus.server.startswith("RabbitMQ ")
            assert report.store.eviction == "noeviction" and report.store.role == "master"
            assert report.store.append_only is not None and report.store.fsync


async def test_a_store_that_is_away_is_in_the_report(place: Place) -> None:
    if place.real:
        pytest.skip("the servers of the run are shared")
    await place.master("m0")
    place.state.available = False
    (report,) = await ask(place)
    assert "switched off" in report.store.error
    # Its owner comes and goes while it tries; the queue is there.
    assert not report.bus.error and report.cells[0].inbox is not None
    place.state.available = True


async def test_an_inbox_with_another_delivery_limit_is_in_the_report(place: Place) -> None:
    """Such a queue can only be there before the first master, who then cannot consume it."""
    if not place.real:
        pytest.skip("the queue in memory has no delivery limit")
    spec = Topology(place.cluster).queue_spec(Queue(QueueKind.CELL_INBOX, "0"))
    connection = pika.BlockingConnection(pika.URLParameters(place.urls[0]))
    arguments = {**spec.arguments, "x-delivery-limit": 5}
    connection.channel().queue_declare(spec.name, durable=True, arguments=arguments)
    connection.close()
    from broker_mesos.master.health import examine
    from broker_mesos.ports.store import MasterInfo
    from broker_mesos.runtime.clock import new_id
    from tests.master.places import CLOCK

    me = MasterInfo("m0", "h", 1, "1", 0.0)
    report = await examine(me, await place.bus(), await place.store(), CLOCK, new_id, 1)
    assert "x-delivery-limit 5 instead of" in report.cells[0].error


async def test_a_lost_binding_of_an_inbox_is_in_the_report(place: Place) -> None:
    if not place.real:
        pytest.skip("bindings in memory are not lost")
    await place.master("m0", cells=2)
    topology = Topology(place.cluster)
    name = topology.queue_spec(Queue(QueueKind.CELL_INBOX, "1")).name
    connection = pika.BlockingConnection(pika.URLParameters(place.urls[0]))
    exchange, key = topology.route(addresses.calls(1))
    connection.channel().queue_unbind(name, exchange, key)
    connection.close()
    (report,) = await ask(place)
    assert [cell.unrouted for cell in report.cells] == [(), ("calls",)]


async def test_dead_letters_are_none_where_nobody_has_put_any(place: Place) -> None:
    await place.master("m0")
    bus = await place.bus()
    await bus.delete(DEAD_LETTERS)
    assert (await ask(place))[0].dead_letters == 0
