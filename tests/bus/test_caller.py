"""Whose request a responder answers, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog.testing

from broker_mesos.bus.current_caller import PRINCIPAL_HEADER, answering, current
from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.bus.requests import Requester
from broker_mesos.bus.responder import Responder
from broker_mesos.core.api.access import AccessPolicy, parse_policy
from broker_mesos.core.api.cluster import ClusterView, GetCluster, Hello, HelloAnswer
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.roles import ConfigView, SetRoles
from broker_mesos.core.model.part import Part
from broker_mesos.core.protocol.addresses import Queue, QueueKind, operator_master
from broker_mesos.errors import Denied
from broker_mesos.ports.bus import Outgoing
from broker_mesos.runtime.clock import SystemClock, new_id

CLOCK = SystemClock()
POLICY = parse_policy(
    {"principal": {"ann": {"actions": ["view", "roles"]}, "bob": {"actions": ["view"]}, "web": {"actions": ["roles"]}}}
)


class World:
    """A responder with a policy, and the names of those for whom it has answered."""

    def __init__(self) -> None:
        self.policy: AccessPolicy = POLICY
        self.daemons = ("batch",)
        self.broker = MemoryBroker(CLOCK)
        self.callers: list[str] = []
        self._requesters: list[Requester] = []
        self._buses: list[MemoryBus] = []

    async def bus(self, user: str, *, verifies: bool = False) -> MemoryBus:
        made = MemoryBus(self.broker, user=user, verifies=verifies)
        await made.open(5)
        self._buses.append(made)
        return made

    async def ask(self, user: str, request: Request) -> Part:
        requester = Requester(await self.bus(user), CLOCK, new_id)
        self._requesters.append(requester)
        return await requester.request(operator_master(), request, 5)

    async def answer(self, request: Request) -> Part:
        caller = current()
        self.callers.append("a master" if caller is None else caller.name)
        if isinstance(request, Hello):
            return HelloAnswer(cluster="c", cells=1)
        if isinstance(request, GetCluster):
            return ClusterView(cluster="c", version="1", masters=(), cells=())
        return ConfigView(version=1, policy="drf")

    async def close(self) -> None:
        for requester in self._requesters:
            await requester.close()
        for bus in self._buses:
            await bus.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    responder = Responder(
        await made.bus("master", verifies=True),
        Queue(QueueKind.OPERATOR_MASTER),
        made.answer,
        CLOCK,
        new_id,
        access=made,
    )
    serving = asyncio.create_task(responder.run())
    await responder.consuming.wait()
    yield made
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await made.close()


async def test_over_rabbitmq_a_principal_is_its_user(world: World) -> None:
    await world.ask("ann", GetCluster())
    with pytest.raises(Denied, match="'bob' has no right to roles"):
        await world.ask("bob", SetRoles(roles={}))
    with pytest.raises(Denied, match="'carl' has no right to view"):
        await world.ask("carl", GetCluster())
    await world.ask("carl", Hello())
    assert world.callers == ["ann", "carl"]


async def test_the_web_server_asks_for_the_principal_that_it_names(world: World) -> None:
    with answering(POLICY.caller("ann")):
        await world.ask("web", SetRoles(roles={}))
    with answering(POLICY.caller("bob")), pytest.raises(Denied, match="'bob'"):
        await world.ask("web", SetRoles(roles={}))
    assert world.callers == ["ann"]


async def test_a_principal_that_anybody_else_names_is_not_believed(world: World) -> None:
    with answering(POLICY.caller("ann")), pytest.raises(Denied, match="'bob'"):
        await world.ask("bob", SetRoles(roles={}))
    bus = await world.bus("bob")
    forged = Outgoing(
        operator_master(), "SET_ROLES", b'{"roles": {}}', "f", headers={PRINCIPAL_HEADER: "ann", "bmesos-sender": "ann"}
    )
    assert await bus.publish(forged)
    await world.ask("ann", Hello())
    assert world.callers == ["ann"]


async def test_without_a_principal_the_web_server_sees_whether_the_cluster_is_ready(world: World) -> None:
    """Its own name is no principal, even if the policy has one of that name."""
    await world.ask("web", GetCluster())
    with pytest.raises(Denied, match="'web' has no right to roles"):
        await world.ask("web", SetRoles(roles={}))


async def test_masters_and_batch_workers_need_no_entry(world: World) -> None:
    await world.ask("master", SetRoles(roles={}))
    await world.ask("batch", GetCluster())
    with pytest.raises(Denied, match="'batch' has no right to roles"):
        await world.ask("batch", SetRoles(roles={}))
    assert world.callers == ["a master", "batch"]


async def test_a_changed_policy_holds_for_the_next_request(world: World) -> None:
    await world.ask("ann", GetCluster())
    world.policy = parse_policy({})
    with pytest.raises(Denied):
        await world.ask("ann", GetCluster())


async def test_the_actions_of_people_are_in_the_log_once(world: World) -> None:
    with structlog.testing.capture_logs() as logs:
        await world.ask("ann", SetRoles(roles={"eng": {"weight": 2.0}}))
        await world.ask("ann", GetCluster())
        with pytest.raises(Denied):
            await world.ask("bob", SetRoles(roles={"eng": {"weight": 2.0}}))
        # The web server has recorded it.
        with answering(POLICY.caller("ann")):
            await world.ask("web", SetRoles(roles={}))
        await world.ask("batch", GetCluster())
    lines = [
        (each["principal"], each["action"], each["on"], each["answer"]) for each in logs if each["event"] == "audit"
    ]
    assert lines == [("ann", "SET_ROLES", "eng", "ok"), ("bob", "SET_ROLES", "eng", "denied")]
