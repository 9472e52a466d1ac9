"""Changes of the states of agents and frameworks, as one decision has made them; operators see them as events.

They are found by comparing each record that a decision writes with the state that was last announced of it, so that no
handler can forget one."""

from __future__ import annotations

from typing import NamedTuple

from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.protocol.records import AgentStatus


class Change(NamedTuple):
    """An agent or framework that has entered a state."""

    kind: str
    """Such as ``agent.unreachable``."""
    ident: str


def agent_change(agent: Agent) -> Change | None:
    """The change of an agent since the last call; None if there is none. A new session is one, too."""
    state = agent.maintenance.status if agent.state is AgentStatus.REGISTERED else ""
    if not state:
        away = agent.state is AgentStatus.REGISTERED and not agent.session
        state = "left" if away else agent.state.value
    announced = (state, agent.session)
    if announced == agent.announced:
        return None
    agent.announced = announced
    return Change(f"agent.{state}", agent.ident)


def framework_change(framework: Framework) -> Change | None:
    """The change of a framework since the last call; None if there is none."""
    if framework.state is framework.announced:
        return None
    framework.announced = framework.state
    return Change(f"framework.{framework.state.value}", framework.ident)
