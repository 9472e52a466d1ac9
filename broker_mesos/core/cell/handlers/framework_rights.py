"""What frameworks may use by the access policy: roles, which are checked before anything is offered in them, and the
users of their tasks, which are checked before a launch."""

from __future__ import annotations

from collections.abc import Iterable

from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.reservation import Operation
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.events import Error
from broker_mesos.errors import Denied

MAX_REFUSED = 1_000
"""Maximum number of refused frameworks that are remembered, so that each is logged once."""


def may_subscribe(state: CellState, info: FrameworkInfo, demand: Demand, out: Outlet) -> bool:
    """Whether a framework may use its roles, and those of its demand. If not, it is sent an error."""
    return _may_use(state, info.framework_id, (*info.roles, *demand.roles), out)


def may_demand(state: CellState, framework_id: str, demand: Demand, out: Outlet) -> bool:
    """Whether a framework may use the roles of a demand. If not, it is sent an error."""
    return _may_use(state, framework_id, demand.roles, out)


def check_operation(state: CellState, framework_id: str, operation: Operation) -> None:
    """Check that a framework may use the roles that an operation names. Raises Denied."""
    volume = operation.volume
    roles = filter(None, (operation.role, "" if volume is None else volume.role))
    if problem := _problem(state, framework_id, roles):
        raise Denied(problem)


def problem_of_task_user(state: CellState, framework_id: str, task_user: str) -> str:
    """Why a framework may not run tasks as a user of the agents' machines, in one line; empty if it may, or if
    ``task_user`` is empty and so the agent chooses."""
    if not task_user or state.access is None or framework_id in state.built_in:
        return ""
    if state.access.caller(framework_id).rights.may_run_as(task_user):
        return ""
    return (
        f"framework {framework_id} has no right to run tasks as the user {task_user}: the policy must have it in the "
        f"task_users of [principal.{framework_id}]"
    )


def _may_use(state: CellState, framework_id: str, roles: Iterable[str], out: Outlet) -> bool:
    problem = _problem(state, framework_id, roles)
    if not problem:
        state.refused_frameworks.pop(framework_id, None)
        return True
    out.hint(addresses.events(framework_id), Error(message=problem))
    if state.refused_frameworks.get(framework_id) != problem:
        if len(state.refused_frameworks) >= MAX_REFUSED:
            state.refused_frameworks.clear()
        state.refused_frameworks[framework_id] = problem
        out.decision.warnings.append(problem)
    return False


def _problem(state: CellState, framework_id: str, roles: Iterable[str]) -> str:
    """Why a framework may not use one of the roles, in one line; empty if it may use all."""
    if state.access is None or framework_id in state.built_in:
        return ""
    rights = state.access.caller(framework_id).rights
    for role in roles:
        if not rights.may_use(role):
            return (
                f"framework {framework_id} has no right to the role {role}: the policy must have it in the roles of "
                f"[principal.{framework_id}]"
            )
    return ""
