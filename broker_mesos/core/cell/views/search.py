"""Ids of a cell that begin with a text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from broker_mesos.core.api.search import Match, Matches, SearchCell
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.views.agent_index import state_name


def matches(state: CellState, request: SearchCell) -> Matches:
    """What begins with the text of a request: at most ``limit`` of each kind."""
    found: list[Match] = []
    truncated = False
    for kind in (_agents, _frameworks, _roles, _tasks):
        some = list(islice(kind(state, request.prefix), request.limit + 1))
        truncated = truncated or len(some) > request.limit
        found += some[: request.limit]
    return Matches(found=tuple(found), truncated=truncated)


def _agents(state: CellState, prefix: str) -> Iterator[Match]:
    for agent in state.agents.values():
        if agent.ident.startswith(prefix) or agent.info.hostname.startswith(prefix):
            yield Match(kind="agent", id=agent.ident, text=f"{state_name(agent)}, host {agent.info.hostname}")


def _frameworks(state: CellState, prefix: str) -> Iterator[Match]:
    for each in state.frameworks.values():
        if each.ident.startswith(prefix) or each.info.name.startswith(prefix):
            yield Match(kind="framework", id=each.ident, text=f"{each.info.name} {each.state.value}".strip())


def _roles(state: CellState, prefix: str) -> Iterator[Match]:
    for role in {*state.config.roles, *state.held_by_role}:
        if role.startswith(prefix):
            yield Match(kind="role", id=role)


def _tasks(state: CellState, prefix: str) -> Iterator[Match]:
    for ident, task in state.tasks.items():
        if ident.startswith(prefix):
            yield Match(kind="task", id=ident, text=f"{task.state.short} on {task.agent_id}")
