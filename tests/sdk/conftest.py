"""A bus for each party of a test, of both kinds, and drivers that end with the test."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from broker_mesos.bus.memory import MemoryBroker, MemoryBus
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.ports.bus import Bus
from broker_mesos.ports.clock import Clock
from broker_mesos.sdk import Driver, Scheduler, calls
from tests.sdk.cluster import FakeMaster, FastClock, ManualClock, RealClock, Recorder, new_id

FRAMEWORK = FrameworkInfo(framework_id="fw")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledgements wait less long for company: some tests wait for them."""
    monkeypatch.setattr(calls, "ACKNOWLEDGE_AFTER_SECONDS", 1.0)


class World:
    """Buses, a fake master, and drivers with their runs."""

    def __init__(self, make_bus: Callable[[], Bus], clock: Clock) -> None:
        self.make_bus = make_bus
        self.clock = clock
        self.buses: list[Bus] = []
        self.runs: dict[Driver, asyncio.Task[None]] = {}
        self.master: FakeMaster

    async def bus(self) -> Any:
        bus = self.make_bus()
        await bus.open(10.0)
        self.buses.append(bus)
        return bus

    async def driver(
        self,
        scheduler: Scheduler,
        framework: FrameworkInfo = FRAMEWORK,
        bus: Bus | None = None,
        **options: Any,
    ) -> Driver:
        """A driver that runs."""
        driver = Driver(scheduler, framework, bus or await self.bus(), clock=self.clock, new_id=new_id, **options)
        self.runs[driver] = asyncio.create_task(driver.run())
        return driver

    async def registered(self, framework: FrameworkInfo = FRAMEWORK, **options: Any) -> tuple[Driver, Recorder]:
        """A driver that has registered, and its scheduler."""
        scheduler = Recorder()
        driver = await self.driver(scheduler, framework, **options)
        await scheduler.got("registered")
        return driver, scheduler

    async def ended(self, driver: Driver) -> None:
        """Waits for the end of a driver's run."""
        async with asyncio.timeout(90):
            await self.runs[driver]

    async def close(self) -> None:
        for run in self.runs.values():
            run.cancel()
        await asyncio.gather(*self.runs.values(), return_exceptions=True)
        await self.master.close()
        for bus in self.buses:
            await bus.close()


async def make_world(make_bus: Callable[[], Bus], clock: Clock) -> World:
    world = World(make_bus, clock)
    world.master = FakeMaster(await world.bus())
    await world.master.start()
    return world


@pytest_asyncio.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.servers)])
async def world(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[World]:
    """A cluster on each kind of bus, where sleeps are short."""
    clock = FastClock()
    if request.param == "memory":
        broker = MemoryBroker(clock)

        def make_bus() -> Bus:
            return MemoryBus(broker)

    else:
        from broker_mesos.bus.rabbitmq import RabbitBus

        url = request.getfixturevalue("rabbitmq_url")

        def make_bus() -> Bus:
            return RabbitBus(url, clock=RealClock(), rng=random.Random(), cluster=cluster_name)

    world = await make_world(make_bus, clock)
    yield world
    await world.close()


@pytest_asyncio.fixture
async def still_world() -> AsyncIterator[World]:
    """A cluster in memory whose time stands until a test advances it."""
    clock = ManualClock()
    broker = MemoryBroker(clock)
    world = await make_world(lambda: MemoryBus(broker), clock)
    yield world
    await world.close()
