"""An agent without clock, bus or processes; and one in a world."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker_mesos.containerizer.memory import FakeContainerizer
from tests.agent.support import Agent
from tests.agent.world import World


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def session(agent: Agent) -> str:
    return agent.register()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.close()


@pytest.fixture
def machine(world: World) -> FakeContainerizer:
    return FakeContainerizer(world.clock)
