"""Gangs over several cells: they share the gang token through the store."""

from __future__ import annotations

import asyncio

from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import Demand, FrameworkInfo, Shape
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Queue, QueueKind, cell_of
from broker_mesos.core.protocol.agent_messages import AgentRegistered, RegisterAgent
from broker_mesos.core.protocol.events import Offers
from broker_mesos.core.protocol.framework_messages import Subscribe
from broker_mesos.core.protocol.limits import Limits
from broker_mesos.ports.bus import outgoing
from broker_mesos.runtime.clock import new_id
from broker_mesos.sdk.gangs import arrange
from tests.master.test_master_in_memory import cluster, owned, receive_until

LIMIT = 90.0


async def test_cells_offer_a_gang_together_what_none_of_them_has_alone():
    limits = Limits(gang_patience=0.2, gang_hold=10.0, allocation=0.2)
    async with cluster() as made, asyncio.timeout(LIMIT):
        master, task = await made.master("m1", cells=2, limits=limits)
        await owned(master, 2)
        bus = await made.bus("parties")
        offers = await bus.consume(Queue(QueueKind.FRAMEWORK_OFFERS, "f1"))
        await bus.consume(Queue(QueueKind.FRAMEWORK_EVENTS, "f1"))
        for cell in range(2):
            ident = next(name for n in range(99) if cell_of(name := f"a{n}", 2) == cell)
            commands = await bus.consume(Queue(QueueKind.AGENT_COMMANDS, ident))
            info = AgentInfo(agent_id=ident, resources=Resources.parse("cpus:2;mem:1024"))
            register = RegisterAgent(agent=info, attempt="1", cells=2)
            await bus.publish(outgoing(addresses.updates(cell), register, new_id(), mandatory=True))
            await receive_until(commands, AgentRegistered)
        shapes = (Shape(resources=Resources.parse("cpus:1;mem:64"), count=4, gang="g"),)
        subscribe = Subscribe(
            framework_id="f1",
            framework=FrameworkInfo(framework_id="f1"),
            demand=Demand(version=1, shapes=shapes),
        )
        await bus.publish(outgoing(addresses.calls(None), subscribe, new_id()))
        held: list[Offer] = []
        while arrange("g", shapes, held) is None:
            held += (await receive_until(offers, Offers)).offers
        assert {offer.cell for offer in held} == {0, 1}
        assert {offer.gang for offer in held} == {"g"} and all(offer.until for offer in held)
        master.stop()
        await task
