"""An agent without clock, bus or processes."""

from __future__ import annotations

import pytest

from tests.agent.support import Agent


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def session(agent: Agent) -> str:
    return agent.register()
