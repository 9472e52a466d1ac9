"""The users of agents that are gone are deleted once, whatever cell does not answer."""

from __future__ import annotations

import asyncio

import pytest

from broker_mesos.core.api.agents import GoneAgents
from broker_mesos.core.api.request import Request
from broker_mesos.core.api.state import MissingCell
from broker_mesos.enroll.gone_agents import GoneWatch
from broker_mesos.errors import Denied, Unavailable


class Cluster:
    """Two cells, and the users of their agents."""

    def __init__(self) -> None:
        self.gone: list[list[str] | None] = [[], []]
        self.users = {"agent-1", "agent-2", "master", "agent-x.y"}
        self.deletions: list[str] = []
        self.broken = False
        self.watch = GoneWatch(self, self, asyncio.sleep)

    async def all_cells(
        self, request: Request, kind: type[GoneAgents], timeout: float
    ) -> tuple[list[GoneAgents], list[MissingCell]]:
        missing = [MissingCell(cell=cell, reason="") for cell, gone in enumerate(self.gone) if gone is None]
        return [GoneAgents(agent_ids=tuple(gone)) for gone in self.gone if gone is not None], missing

    async def delete(self, agent_id: str) -> bool:
        if self.broken:
            raise Unavailable("down")
        self.deletions.append(agent_id)
        existed = agent_id in self.users
        self.users.discard(agent_id)
        return existed


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_the_user_of_a_gone_agent_is_deleted_once_and_its_id_is_refused(cluster: Cluster) -> None:
    cluster.watch.check("agent-1")
    cluster.gone = [["agent-1"], []]
    for _ in range(3):
        await cluster.watch.look()
    assert cluster.deletions == ["agent-1"] and "agent-2" in cluster.users
    with pytest.raises(Denied, match="agent-1 was marked as gone"):
        cluster.watch.check("agent-1")
    cluster.watch.check("agent-2")


async def test_an_agent_stays_gone_while_its_cell_does_not_answer(cluster: Cluster) -> None:
    cluster.gone = [["agent-1"], []]
    await cluster.watch.look()
    cluster.gone = [None, ["agent-2"]]
    await cluster.watch.look()
    for name in ("agent-1", "agent-2"):
        with pytest.raises(Denied):
            cluster.watch.check(name)
    cluster.gone = [[], []]
    await cluster.watch.look()
    cluster.watch.check("agent-1")


async def test_an_agent_that_is_freed_keeps_its_next_user_until_it_is_marked_again(cluster: Cluster) -> None:
    assert not cluster.watch.free("agent-1")
    cluster.gone = [["agent-1"], []]
    await cluster.watch.look()
    assert cluster.watch.free("agent-1")
    cluster.watch.check("agent-1")
    cluster.users.add("agent-1")  # enrolled, and not registered yet
    await cluster.watch.look()
    assert "agent-1" in cluster.users
    cluster.gone = [[], []]  # registered
    await cluster.watch.look()
    cluster.gone = [["agent-1"], []]
    await cluster.watch.look()
    assert "agent-1" not in cluster.users


async def test_a_user_that_could_not_be_deleted_is_tried_again(cluster: Cluster) -> None:
    cluster.gone, cluster.broken = [["agent-1"], []], True
    with pytest.raises(Unavailable):
        await cluster.watch.look()
    cluster.broken = False
    await cluster.watch.look()
    assert "agent-1" not in cluster.users


async def test_only_users_of_agents_are_deleted(cluster: Cluster) -> None:
    cluster.gone = [["master", "agent-x.y", "old"], []]
    await cluster.watch.look()
    assert not await cluster.watch.revoke("master")
    assert cluster.deletions == []


async def test_a_revoked_agent_is_refused_before_its_cell_is_asked(cluster: Cluster) -> None:
    assert await cluster.watch.revoke("agent-1")
    with pytest.raises(Denied):
        cluster.watch.check("agent-1")
    assert not await cluster.watch.revoke("agent-1")
