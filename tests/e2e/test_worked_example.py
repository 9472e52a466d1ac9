"""The example that the project is explained with, number by number, with the SDK: on the memory adapters, and
on real servers with a real master and agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker_mesos.bus.open import open_bus
from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.state import GetState, StateView
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import CommandInfo, TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.operator.gateway import Gateway
from broker_mesos.ports.bus import Bus
from broker_mesos.runtime.clock import SystemClock, new_id
from broker_mesos.runtime.settings import load
from broker_mesos.sdk import Driver, Scheduler
from broker_mesos.wiring.local import LocalCluster
from tests.e2e.cluster import Cluster

CLOCK = SystemClock()
LIMIT = 90.0


class Framework(Scheduler):
    """Puts what it hears into queues."""

    def __init__(self, name: str, bus: Bus) -> None:
        self.offers: asyncio.Queue[Offer] = asyncio.Queue()
        self.statuses: asyncio.Queue[TaskStatus] = asyncio.Queue()
        self.known = asyncio.Event()
        self.driver = Driver(
            self,
            FrameworkInfo(framework_id=name, name=name),
            bus,
            clock=CLOCK,
            new_id=new_id,
            rng=random.Random(1),
        )

    def registered(self, driver: Driver, framework_id: str) -> None:
        self.known.set()

    def resource_offers(self, driver: Driver, offers: Sequence[Offer]) -> None:
        for offer in offers:
            self.offers.put_nowait(offer)

    def status_update(self, driver: Driver, status: TaskStatus) -> None:
        self.statuses.put_nowait(status)

    async def offered(self) -> Offer:
        """The one offer that is due, and no other."""
        offer = await asyncio.wait_for(self.offers.get(), LIMIT)
        assert self.offers.empty()
        return offer

    async def status(self, task_id: str, state: TaskState) -> TaskStatus:
        async with asyncio.timeout(LIMIT):
            while True:
                status = await self.statuses.get()
                if (status.task_id, status.state) == (task_id, state):
                    return status


@dataclass
class World:
    """What the example needs: a cluster of one cell with the agent, buses, and the operator's view."""

    buses: list[Bus]
    gateway: Gateway

    async def agent(self) -> tuple[str, str, str]:
        """Total, offered and used of the one agent."""
        view = await self.gateway.handle(GetState(parts=("agents",)))
        assert isinstance(view, StateView)
        (agent,) = view.agents
        return str(agent.total), str(agent.offered), str(agent.used)


@contextlib.asynccontextmanager
async def on_memory(tmp_path: Path) -> AsyncIterator[World]:
    resources = Resources.parse("cpus:4;mem:4096")
    async with LocalCluster(load(), agents=1, resources=resources, work_dir=tmp_path, cells=1) as cluster:
        buses: list[Bus] = [cluster.bus("framework-1"), cluster.bus("framework-2")]
        async with opened(buses):
            yield World(buses, await cluster.gateway())


@contextlib.asynccontextmanager
async def on_servers(urls: tuple[str, str], name: str, tmp_path: Path) -> AsyncIterator[World]:
    with Cluster(*urls, name, tmp_path) as cluster:
        cluster.master(cells=1)
        cluster.agent(resources="cpus:4;mem:4096;disk:0;ports:[]")
        await asyncio.to_thread(cluster.ready)
        buses = [open_bus(cluster.amqp_url, name=f"framework-{number}", cluster=name) for number in (1, 2, 3)]
        async with opened(buses):
            requester = Requester(buses[2], CLOCK, new_id)
            yield World(buses[:2], Gateway(requester))
            await requester.close()


@contextlib.asynccontextmanager
async def opened(buses: Sequence[Bus]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for bus in buses:
            await bus.open(LIMIT)
            stack.push_async_callback(bus.close)
        yield


@contextlib.asynccontextmanager
async def running(framework: Framework) -> AsyncIterator[Framework]:
    work = asyncio.create_task(framework.driver.run())
    try:
        await asyncio.wait_for(framework.known.wait(), LIMIT)
        yield framework
    finally:
        framework.driver.stop()
        await work


def gated(task_id: str, resources: str, folder: Path) -> TaskInfo:
    """A task that ends when somebody writes into the pipe of its name."""
    gate = folder / task_id
    os.mkfifo(gate)
    command = CommandInfo(arguments=("/bin/cat", str(gate)))
    return TaskInfo(task_id=task_id, resources=Resources.parse(resources), command=command)


@pytest.mark.parametrize("adapters", ["memory", pytest.param("servers", marks=pytest.mark.servers)])
async def test_worked_example_is_exact(
    adapters: str, request: pytest.FixtureRequest, tmp_path: Path, cluster_name: str
):
    if adapters == "memory":
        making = on_memory(tmp_path / "cluster")
    else:
        making = on_servers(request.getfixturevalue("server_urls"), cluster_name, tmp_path / "cluster")
    gates = tmp_path / "gates"
    gates.mkdir()
    async with making as world:
        # Agent 1 reports 4 CPUs and 4 GB.
        assert await world.agent() == ("cpus:4;mem:4096", "", "")

        # The policy offers all of it to framework 1.
        one = Framework("framework-1", world.buses[0])
        two = Framework("framework-2", world.buses[1])
        async with running(one):
            first = await one.offered()
            assert str(first.resources) == "cpus:4;mem:4096"
            async with running(two):
                assert await world.agent() == ("cpus:4;mem:4096", "cpus:4;mem:4096", "")

                # Framework 1 launches one task with 2 CPUs, 1 GB and one with 1 CPU, 2 GB.
                tasks = [gated("t1", "cpus:2;mem:1024", gates), gated("t2", "cpus:1;mem:2048", gates)]
                assert await one.driver.accept(first, tasks)

                # The 1 CPU and 1 GB that are left are offered to framework 2.
                rest = await two.offered()
                assert str(rest.resources) == "cpus:1;mem:1024"
                assert rest.agent_id == first.agent_id
                for name in ("t1", "t2"):
                    await one.status(name, TaskState.RUNNING)
                assert await world.agent() == ("cpus:4;mem:4096", "cpus:1;mem:1024", "cpus:3;mem:3072")

                # When tasks finish, their resources are offered again: to framework 2, whose share is 1/4
                # against 1/2, and then to framework 1, which holds nothing any more.
                await asyncio.to_thread((gates / "t1").write_text, "go")
                assert (await one.status("t1", TaskState.FINISHED)).exit_code == 0
                again = await two.offered()
                assert str(again.resources) == "cpus:2;mem:1024"
                assert await world.agent() == ("cpus:4;mem:4096", "cpus:3;mem:2048", "cpus:1;mem:2048")

                await asyncio.to_thread((gates / "t2").write_text, "go")
                assert (await one.status("t2", TaskState.FINISHED)).exit_code == 0
                last = await one.offered()
                assert str(last.resources) == "cpus:1;mem:2048"
                assert await world.agent() == ("cpus:4;mem:4096", "cpus:4;mem:4096", "")
                assert two.offers.empty() and one.offers.empty()
