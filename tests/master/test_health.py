"""What masters find out about their servers, asked over the operator API."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pika
import pytest

from broker_mesos.agent.checkpoint import MemoryCheckpoint
from broker_mesos.agent.daemon import AgentDaemon
from broker_mesos.agent.options import AgentOptions
from broker_mesos.bus.dead_letters import DEAD_LETTERS, letter, park
from broker_mesos.bus.topology import Topology
from broker_mesos.containerizer.memory import FakeContainerizer
from broker_mesos.core.api.health import GetHealth, HealthView, MasterReport, RouteReport
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Exchange, Queue, QueueKind
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.master.route_probe import is_lost
from broker_mesos.operator.doctor import find_problems
from broker_mesos.operator.gateway import Gateway
from broker_mesos.ports.bus import Delivery
from broker_mesos.runtime.clock import new_id
from tests.master.places import CLOCK, Place


@contextlib.asynccontextmanager
async def agents(place: Place, *idents: str) -> AsyncIterator[list[AgentDaemon]]:
    """Registered agents."""
    daemons, runs = [], []
    for ident in idents:
        options = AgentOptions(resources=Resources.parse("cpus:1;mem:64"), agent_id=ident)
        machine = FakeContainerizer(CLOCK)
        bus = await place.bus(ident)
        daemon = AgentDaemon(bus, machine.for_agent, MemoryCheckpoint(), CLOCK, new_id, random.Random(1), options)
        daemons.append(daemon)
        runs.append(asyncio.create_task(daemon.run()))
    try:
        async with asyncio.timeout(90):
            for daemon in daemons:
                await daemon.registered.wait()
        yield daemons
    finally:
        for daemon in daemons:
            daemon.stop()
        await asyncio.gather(*runs)


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


async def test_an_agent_answers_a_probe_of_its_routes(place: Place) -> None:
    await place.master("m0")
    async with agents(place, "a1", "a2"):
        (report,) = await ask(place)
        assert report.cells[0].routes == RouteReport(agents=2, probed=2)


async def test_a_lost_binding_of_an_agent_is_in_the_report_and_the_doctor_names_it(place: Place) -> None:
    if not place.real:
        pytest.skip("bindings in memory are not lost")
    await place.master("m0")
    async with agents(place, "a1", "a2"):
        # Nobody else may unbind a queue that is exclusive to its agent: the exchange is deleted with its bindings.
        exchange = Topology(place.cluster).exchange(Exchange.COMMANDS)
        connection = pika.BlockingConnection(pika.URLParameters(place.urls[0]))
        connection.channel().exchange_delete(exchange)
        connection.channel().exchange_declare(exchange, "topic", durable=True)
        connection.close()
        reports = await ask(place)
    routes = reports[0].cells[0].routes
    assert routes is not None and set(routes.unbound) == {"a1", "a2"}
    found = find_problems(HealthView(masters=tuple(reports), expected=1), None, None, (0.0, 0.0))
    (finding,) = [each for each in found if each.subject == "agents"]
    assert "'commands' did not reach a" in finding.found and finding.level == "error"


async def test_a_lost_binding_of_heartbeats_is_in_the_report(place: Place) -> None:
    if not place.real:
        pytest.skip("bindings in memory are not lost")
    await place.master("m0")
    bus = await place.bus()
    async with asyncio.timeout(90):
        while await is_lost(bus, new_id, addresses.heartbeats(0), Ping()):
            await asyncio.sleep(0.01)
    connection = pika.BlockingConnection(pika.URLParameters(place.urls[0]))
    connection.channel().exchange_delete(Topology(place.cluster).exchange(Exchange.HEARTBEATS))
    connection.channel().exchange_declare(Topology(place.cluster).exchange(Exchange.HEARTBEATS), "direct", durable=True)
    connection.close()
    (report,) = await ask(place)
    routes = report.cells[0].routes
    assert routes is not None and routes.heartbeats_lost


async def test_an_agent_that_is_stopped_is_silent_within_the_time_of_the_doctor(place: Place) -> None:
    await place.master("m0")
    async with agents(place, "a1") as (daemon,):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(daemon, "_on_delivery", lambda delivery: "")
            (report,) = await ask(place)
    assert report.cells[0].routes == RouteReport(agents=1, probed=1, silent=("a1",))


async def test_of_many_agents_a_sample_is_probed(place: Place) -> None:
    master = await place.master("m0")
    async with agents(place, "a1"):
        term = master.owners[0].term
        assert term is not None
        state = term.cell.state
        for number in range(100):
            twin = Agent(state.agents["a1"].info.model_copy(update={"agent_id": f"b{number}"}))
            twin.session = "s"
            state.add_agent(twin)
        (report,) = await ask(place)
        routes = report.cells[0].routes
        assert routes is not None and routes.probed == 20 and routes.agents == 101


async def test_dead_letters_are_none_where_nobody_has_put_any(place: Place) -> None:
    await place.master("m0")
    bus = await place.bus()
    await bus.delete(DEAD_LETTERS)
    assert (await ask(place))[0].dead_letters == 0
