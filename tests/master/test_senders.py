"""With security on, a master obeys no message whose sender is not the one that it must have."""

from __future__ import annotations

import asyncio

import pytest

from broker_mesos.bus.dead_letters import letter, park
from broker_mesos.bus.memory import MemoryBus
from broker_mesos.core.api.agents import MarkAgentGone
from broker_mesos.core.api.dead_letters import RetryDeadLetters
from broker_mesos.core.api.roles import GetConfig, SetRoles
from broker_mesos.core.model.agent import AgentInfo
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import Address, Exchange, Queue, QueueKind
from broker_mesos.core.protocol.agent_messages import AgentHeartbeat, KillTasks, RegisterAgent, UnregisterAgent
from broker_mesos.core.protocol.framework_messages import FrameworkHeartbeat, Subscribe, Teardown
from broker_mesos.core.protocol.wire import Message
from broker_mesos.errors import Denied
from broker_mesos.operator.gateway import Gateway
from broker_mesos.ports.bus import Bus, Delivery, outgoing
from broker_mesos.runtime.clock import new_id
from tests.master.places import CLOCK, Place
from tests.master.test_poison import PATIENCE, listen, parked, registered

pytestmark = pytest.mark.parametrize("place", ["memory"], indirect=True)

REGISTRATION = RegisterAgent(
    agent=AgentInfo(agent_id="agent-1", resources=Resources.parse("cpus:1")), attempt="1.1", cells=1
)


@pytest.fixture
async def secure(place: Place) -> Place:
    place.secure = True
    await place.master("m1")
    return place


async def send(bus: Bus, to: Address, message: Message) -> str:
    """Send a message, once its queue is there."""
    out = outgoing(to, message, new_id(), mandatory=True)
    async with asyncio.timeout(PATIENCE):
        while not await bus.publish(out):
            await asyncio.sleep(0.01)
    return out.message_id


async def test_an_agent_registers_under_its_own_name_only(secure: Place) -> None:
    own = await secure.bus("agent", "agent-1")
    consumer = await listen(own, "agent-1")
    forged = await send(await secure.bus("other", "agent-2"), addresses.updates(0), REGISTRATION)
    await send(own, addresses.updates(0), REGISTRATION)
    await registered(consumer)
    (found,) = await parked(await secure.bus(), 1)
    assert found.message_id == forged
    assert found.headers["user"] == "agent-2" and "'agent-1' came from 'agent-2'" in found.headers["reason"]


# No call is made like this, but it can be written.
MIXED = Subscribe.model_construct(framework_id="f2", framework=FrameworkInfo(framework_id="f1"))


@pytest.mark.parametrize(
    ("user", "to", "message"),
    [
        ("agent-2", addresses.updates(0), UnregisterAgent(agent_id="agent-1", session="s")),
        ("agent-1", addresses.calls(0), UnregisterAgent(agent_id="agent-1", session="s")),
        ("f2", addresses.calls(0), Subscribe(framework_id="f1", framework=FrameworkInfo(framework_id="f1"))),
        ("f2", addresses.calls(0), MIXED),
        ("f2", addresses.calls(0), Teardown(framework_id="f1")),
        ("agent-1", addresses.calls(0), Teardown(framework_id="f1")),
        ("f1", addresses.updates(0), Teardown(framework_id="f1")),
        ("", addresses.updates(0), REGISTRATION),
    ],
    ids=lambda each: getattr(each, "TYPE", str(each)),
)
async def test_a_message_of_somebody_else_is_parked(secure: Place, user: str, to: Address, message: Message) -> None:
    ident = await send(await secure.bus("forger", user), to, message)
    (found,) = await parked(await secure.bus(), 1)
    assert (found.message_id, found.type) == (ident, message.TYPE)
    assert found.headers.get("user", "") == user and message.TYPE in found.headers["reason"]


async def test_a_forged_heartbeat_keeps_nobody_alive(secure: Place) -> None:
    """An owner answers the heartbeat of an agent that it does not know with REREGISTER, and a framework's subscribes
    the framework."""
    own = await secure.bus("agent", "agent-1")
    consumer = await listen(own, "agent-1")
    forger = await secure.bus("forger", "agent-2")
    for ident in ("forged", "forged again"):
        await send(forger, addresses.heartbeats(0), AgentHeartbeat(agent_id="agent-1", session=ident))
    info = FrameworkInfo(framework_id="f1")
    await send(forger, addresses.heartbeats(0), FrameworkHeartbeat(framework_id="f1", framework=info))
    await send(own, addresses.heartbeats(0), AgentHeartbeat(agent_id="agent-1", session="right"))
    async with asyncio.timeout(PATIENCE):
        (answer,) = await consumer.receive()
    assert answer.type == "REREGISTER" and b"forged" not in answer.body
    master, _ = secure._masters[0]
    term = master.owners[0].term
    assert term is not None and "f1" not in term.cell.state.frameworks
    bus = term._bus
    assert isinstance(bus, MemoryBus) and bus._senders is not None
    assert bus._senders.refused == {"AGENT_HEARTBEAT": 2, "FRAMEWORK_HEARTBEAT": 1}


@pytest.mark.parametrize("request_", [SetRoles(roles={}), GetConfig()], ids=lambda each: each.TYPE)
async def test_an_agents_user_is_no_operator(secure: Place, request_: SetRoles | GetConfig) -> None:
    requester = await secure.requester("agent-1")
    with pytest.raises(Denied, match="'agent-1'"):
        await requester.request(addresses.operator_master(), request_, PATIENCE)
    (found,) = await parked(await secure.bus(), 1)
    assert found.type == request_.TYPE and found.headers["user"] == "agent-1"


async def test_an_agents_user_asks_no_cell(secure: Place) -> None:
    gateway = Gateway(await secure.requester("agent-1"))
    with pytest.raises(Denied, match="'agent-1'"):
        await gateway.handle(MarkAgentGone(agent_id="agent-2"), PATIENCE)


def a_letter(source: Queue, user: str, ident: str) -> Delivery:
    """A message as its receiver has got it."""
    message = KillTasks(session="s", number=1, task_ids=("t1",))
    return Delivery(message.TYPE, message.encode(), ident, 1, user_id=user)


async def test_a_forged_letter_is_not_sent_again(secure: Place) -> None:
    """Whoever may publish letters could let a master publish a launch for another agent."""
    consumer = await listen(await secure.bus("agent", "agent-1"), "agent-1")
    forger = await secure.bus("forger", "agent-2")
    for ident, queue in (
        ("other", Queue(QueueKind.AGENT_COMMANDS, "agent-1")),
        ("cell", Queue(QueueKind.CELL_INBOX, "0")),
        ("own", Queue(QueueKind.AGENT_COMMANDS, "agent-2")),
    ):
        forged = letter(a_letter(queue, "master", ident), queue, "no", tries=1, letter_id=ident, now=CLOCK.time())
        await park(forger, forged)
    requester = await secure.requester("ann")
    for ident in ("other", "cell"):
        with pytest.raises(Denied, match="'agent-2', who receives no messages of"):
            await requester.request(addresses.operator_master(), RetryDeadLetters(letter_id=ident), PATIENCE)
    mine = await listen(forger, "agent-2")
    await requester.request(addresses.operator_master(), RetryDeadLetters(letter_id="own"), PATIENCE)
    async with asyncio.timeout(PATIENCE):
        (own,) = await mine.receive()
    assert own.message_id == "own"
    await send(
        await secure.bus("m", "master"), addresses.commands("agent-1"), KillTasks(session="s", number=2, task_ids=())
    )
    async with asyncio.timeout(PATIENCE):
        (first,) = await consumer.receive()
    assert first.message_id not in ("other", "cell")


async def test_a_message_that_is_sent_again_keeps_its_sender(secure: Place) -> None:
    """It is published by a master, and is not a master's message for that."""
    own = await secure.bus("agent", "agent-1")
    forged = await send(await secure.bus("other", "agent-2"), addresses.updates(0), REGISTRATION)
    requester = await secure.requester("ann")
    before = (await parked(await secure.bus(), 1))[0]
    await park(await secure.bus("m", "master"), letter_again(before))
    await requester.request(addresses.operator_master(), RetryDeadLetters(letter_id="again"), PATIENCE)
    (after,) = await parked(own, 1)
    assert (after.message_id, after.headers["user"]) == (forged, "agent-2")


def letter_again(found: Delivery) -> object:
    delivery = Delivery(found.type, found.body, found.message_id, 1, user_id=found.headers["user"])
    return letter(delivery, Queue(QueueKind.CELL_INBOX, "0"), "no", tries=0, letter_id="again", now=CLOCK.time())


async def test_a_sender_that_a_message_claims_is_not_its_sender(secure: Place) -> None:
    out = outgoing(Address(Exchange.UPDATES, "cell.0"), REGISTRATION, "claims", mandatory=True)
    forger = await secure.bus("forger", "agent-2")
    object.__setattr__(out, "headers", {"bmesos-sender": "agent-1"})
    assert await forger.publish(out)
    (found,) = await parked(await secure.bus(), 1)
    assert found.headers["user"] == "agent-2" and "bmesos-sender" not in found.headers
