"""Operations of frameworks: those of an accept, and the volumes that its tasks use.

Operations are carried out in their order, before the tasks, and each one sees the results of those before it. The
result is the whole value of the agent's reservations and volumes, which is committed with the decision and sent to
the agent before any task is launched that uses it.

Repeats: ids of operations are stored with the reservations and volumes, so that an operation which was carried out is
answered as such again, even if its offer has ended or another owner decides. An operation without an id cannot be
repeated, since the offer that it needs ends with the first accept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from broker_mesos.core.cell.handlers.framework_rights import check_operation
from broker_mesos.core.cell.handlers.operations import Ground, apply
from broker_mesos.core.cell.outlet import Outlet
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.reserved_portions import VOLUMES
from broker_mesos.core.model.reservation import Operation, OperationStatus, mount_problem
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.events import OperationsUpdated
from broker_mesos.core.protocol.framework_messages import Acceptance
from broker_mesos.errors import BrokerMesosError, InvalidInput, NotFound


def carry_out(
    state: CellState,
    framework: Framework,
    ground: Ground,
    operations: Sequence[Operation],
    out: Outlet,
    *,
    revocable: bool = False,
) -> bool:
    """Carry out the operations of an accept whose offers have just ended. Afterwards ``ground`` has the resources that
    are left for its tasks. Returns whether anything has changed."""
    agent = ground.agent
    before = agent.reserved_resources
    statuses = []
    for each in operations:
        try:
            name = f"{framework.ident}:{each.operation_id}" if each.operation_id else ""
            if revocable:
                raise InvalidInput("the offer is of slack, which cannot be reserved")
            check_operation(state, framework.ident, each)
            apply(ground, each, name)
            statuses.append(_status(each, agent.ident))
        except BrokerMesosError as error:
            statuses.append(_status(each, agent.ident, str(error)))
    _send_status(state, framework, statuses, out)
    if agent.reserved_resources is before:
        return False
    state.changed[agent.ident] = None
    state.reconsider = True  # earlier filters do not apply to the changed resources
    out.send_reservations(agent)
    return True


def answer_ended(state: CellState, framework: Framework, call: Acceptance, out: Outlet) -> None:
    """Answer the operations of an accept whose offers have ended: they were carried out before, or are refused."""
    done = {
        name.partition(":")[2]: agent.ident
        for agent in (state.agents.values() if any(each.operation_id for each in call.operations) else ())
        for name in agent.reserved_resources.operations
        if name.startswith(f"{framework.ident}:")
    }
    statuses = [
        _status(each, done[each.operation_id])
        if each.operation_id in done
        else _status(each, "", "its offer has ended")
        for each in call.operations
    ]
    _send_status(state, framework, statuses, out)


def _status(operation: Operation, agent_id: str, problem: str = "") -> OperationStatus:
    return OperationStatus(
        operation_id=operation.operation_id,
        state="OPERATION_ERROR" if problem else "OPERATION_FINISHED",
        message=problem[:500],
        agent_id=agent_id,
    )


def _send_status(state: CellState, framework: Framework, statuses: Iterable[OperationStatus], out: Outlet) -> None:
    named = tuple(each for each in statuses if each.operation_id)
    for at in range(0, len(named), 100):
        message = OperationsUpdated(cell=state.cell, statuses=named[at : at + 100])
        out.send(addresses.events(framework.ident), message)


def with_volumes(agent: Agent, role: str, info: TaskInfo, *, revocable: bool = False) -> TaskInfo:
    """The task with its volumes that are not shared among its resources, so that no other task uses them at the same
    time. Raises InvalidInput or NotFound for volumes that it cannot use."""
    if not info.volumes:
        return info
    if revocable:
        raise InvalidInput("it uses a volume, and runs on slack, which may be revoked at any time")
    if problem := mount_problem(info.volumes):
        raise InvalidInput(problem)
    known = {each.volume_id: each for each in agent.reserved_resources.volumes}
    named = set(info.resources.sets.get(VOLUMES, ()))
    for mount in info.volumes:
        volume = known.get(mount.volume_id)
        if volume is None or not is_within(role, volume.role):
            raise NotFound(f"agent {agent.ident} has no volume {mount.volume_id} for role {role}")
        if not volume.shared:
            named.add(mount.volume_id)
    if not named:
        return info
    if VOLUMES in info.resources.scalars or VOLUMES in info.resources.ranges:
        raise InvalidInput(f"{VOLUMES} is a set of volumes, as in {VOLUMES}:{{data}}")
    mine = Resources.of(**{VOLUMES: named})
    return info.model_copy(update={"resources": info.resources.clipped_minus(mine) + mine})
