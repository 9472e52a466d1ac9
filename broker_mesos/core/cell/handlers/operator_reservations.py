"""Reservations and volumes of an agent: changes by operators, and the comparison with the agent's own record."""

from __future__ import annotations

from broker_mesos.core.cell.handlers import offers
from broker_mesos.core.cell.handlers.operations import Ground, apply, change
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.model.reservation import Operation, ReservedResources
from broker_mesos.core.protocol.records import AgentStatus, RecordKind
from broker_mesos.errors import Conflict, NotFound


def operate(state: CellState, agent_id: str, operation: Operation, out: Outlet) -> None:
    """Carry out an operator's operation on the free resources of an agent. If only open offers prevent it, they are
    rescinded. Raises NotFound, Conflict or InvalidInput, and then nothing has changed."""
    agent = state.agents.get(agent_id)
    if agent is None:
        raise NotFound(f"no agent {agent_id}; `bmesos agents` lists them")
    # An agent that is drained or deactivated can be changed, too.
    if agent.state is not AgentStatus.REGISTERED or not agent.listed or not agent.session:
        raise Conflict(f"agent {agent_id} is {agent.state} and cannot be changed now; try again when it is back")
    before = agent.reserved_resources
    name = f":{operation.operation_id}" if operation.operation_id else ""
    ground = Ground(agent, None, agent.free)
    try:
        apply(ground, operation, name)
    except Conflict:
        if not agent.offers:
            raise
        ground = Ground(agent, None, agent.total.clipped_minus(agent.used), offered=False)
        change(ground, operation)  # it raises if rescinding the offers would not help
        offers.end_all(state, list(agent.offers.values()), out, "an operator has changed reservations of its agent")
        apply(Ground(agent, None, agent.free), operation, name)
    if agent.reserved_resources is not before:
        state.changed[agent.ident] = None
        state.reconsider = True
        out.send_reservations(agent)


def settle(state: CellState, agent: Agent, theirs: ReservedResources | None, out: Outlet, *, current: bool) -> None:
    """Compare an agent's reservations and volumes with those of the cell. A higher version of the agent is one that the
    store has lost: it is adopted, with the volumes and their data. If the agent has a lower version, the cell's
    version is sent again, unless it may still be on its way (``current`` is False)."""
    mine = agent.reserved_resources
    if theirs is not None and theirs.version > mine.version:
        offers.end_all(state, list(agent.offers.values()), out, "its agent has newer reservations")
        agent.set_reserved(theirs)
        state.changed[agent.ident] = None
        out.touch(RecordKind.AGENTS, agent.ident)
    elif current and mine.version > (theirs.version if theirs is not None else 0):
        out.send_reservations(agent)
