"""Views of a cell for operators. They change nothing, and contain only the requested parts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import chain
from typing import TypeVar

from broker_mesos.core.api.agents import AgentView
from broker_mesos.core.api.cells import CellLoad, CellPart, CellView, FrameworkView, GetCell, OfferView, TaskView
from broker_mesos.core.api.paging import SortKey, decode
from broker_mesos.core.api.reservations import ReservationsView, ReservationView, VolumeView
from broker_mesos.core.api.roles import RoleView
from broker_mesos.core.cell.allocation.shares import cluster_total, held_in_cluster
from broker_mesos.core.cell.state.agent import Agent
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.state.offer import OpenOffer
from broker_mesos.core.cell.state.reserved_portions import EMPTY, common, unused, uses_by_role
from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import lineage
from broker_mesos.core.model.task_history import TaskStep, steps_until
from broker_mesos.core.protocol.limits import Instant
from broker_mesos.core.protocol.records import FrameworkStatus
from broker_mesos.core.quota.cluster_config import RoleSettings
from broker_mesos.core.quota.config_changes import limit_text

T = TypeVar("T")

NOTHING_SET = RoleSettings()

MAX_SHAPES = 100
"""The largest number of shapes of a framework's demand in a view."""


def view(state: CellState, owner: str, request: GetCell, now: Instant, load: CellLoad | None = None) -> CellView:
    """The requested parts of a cell, each in its order and with at most ``request.limit`` entries. Raises InvalidInput
    for an invalid cursor."""
    parts = request.parts
    after = decode(parts, request.after)
    truncated: list[CellPart] = []

    def page(part: CellPart, entries: Iterable[T], key: Callable[[T], SortKey]) -> list[T]:
        if part not in parts or not request.limit:
            return []
        if after is not None:
            entries = (each for each in entries if key(each) > after)
        found = nsmallest(request.limit + 1, entries, key)
        if len(found) > request.limit:
            truncated.append(part)
        return found[: request.limit]

    agents = page("agents", _agents(state, request), lambda each: (each.info.hostname, each.ident))
    frameworks = page("frameworks", _frameworks(state, request), lambda each: (each.ident,))
    tasks = page(
        "tasks",
        _tasks(state, request),
        lambda each: (each.state.terminal, -each.details.created_at, each.task_id),
    )
    offers = page("offers", _offers(state, request), lambda each: (state.cell, each.offer_id))
    return CellView(
        cell=state.cell,
        term=state.term,
        owner=owner,
        agents=tuple(_agent_view(state, each, now) for each in agents),
        frameworks=tuple(_framework_views(state, frameworks)),
        tasks=tuple(_task_view(state, each, whole=bool(request.task_id)) for each in tasks),
        offers=tuple(_offer_view(state, each, now) for each in offers),
        roles=tuple(_roles(state)) if "roles" in parts else (),
        counts={
            "agents": len(state.agents),
            "frameworks": len(state.frameworks),
            "tasks": len(state.tasks),
            "offers": len(state.offers),
        },
        load=load,
        truncated=tuple(truncated),
    )


def _agents(state: CellState, request: GetCell) -> Iterator[Agent]:
    return (each for each in state.agents.values() if request.agent_id in ("", each.ident))


def _agent_view(state: CellState, agent: Agent, now: Instant) -> AgentView:
    info = agent.info
    return AgentView(
        agent_id=info.agent_id,
        cell=state.cell,
        hostname=info.hostname,
        state=agent.state,
        total=agent.total,
        offered=agent.offered,
        used=agent.used,
        attributes=info.attributes,
        tasks=sum(1 for task in agent.tasks.values() if not task.state.terminal),
        usage=agent.usage,
        version=info.version,
        isolation=info.isolation,
        not_isolated=info.not_isolated,
        isolation_missing=info.isolation_missing,
        pid=info.pid,
        registered_at=agent.registered_at,
        reservations=tuple(_reservations(agent)),
        volumes=tuple(_volumes(agent)),
        heartbeat_age=None if agent.last_heartbeat_at is None else max(0.0, now.mono - agent.last_heartbeat_at),
        maintenance=agent.maintenance.status,
        slack=agent.slack,
        slack_held=agent.slack_held,
        contested=now.mono < agent.contested_until,
        unavailability=agent.maintenance.unavailability,
    )


def reserved_resources(state: CellState, agent: Agent) -> ReservationsView:
    """The reservations and volumes of one agent."""
    return ReservationsView(
        agent_id=agent.ident,
        cell=state.cell,
        reservations=tuple(_reservations(agent)),
        volumes=tuple(_volumes(agent)),
    )


def _reservations(agent: Agent) -> Iterator[ReservationView]:
    if agent.reservations:
        for each, rest in unused(agent.reservations, uses_by_role(agent)):
            yield ReservationView(reservation=each, unused=common(rest, agent.free))


def _volumes(agent: Agent) -> Iterator[VolumeView]:
    for each in agent.reserved_resources.volumes:
        users = (task for task in agent.tasks.values() if not task.state.terminal)
        using = [task.task_id for task in users if each.volume_id in task.details.volumes]
        yield VolumeView(volume=each, tasks=tuple(using[:100]))


def _frameworks(state: CellState, request: GetCell) -> Iterator[Framework]:
    return (each for each in state.frameworks.values() if request.framework_id in ("", each.ident))


def _framework_views(state: CellState, frameworks: Sequence[Framework]) -> Iterator[FrameworkView]:
    if not frameworks:
        return
    total = cluster_total(state)
    held = held_in_cluster(state)
    for framework in frameworks:
        mine = Resources.sum(held.get((role, framework.ident), EMPTY) for role in framework.held)
        yield FrameworkView(
            framework_id=framework.ident,
            cell=state.cell,
            name=framework.info.name,
            roles=tuple(dict.fromkeys((*framework.roles, *framework.held))),
            state=framework.state,
            wanted=framework.wants,
            allocated=framework.used,
            offered=framework.offered,
            tasks=sum(1 for task in framework.tasks.values() if not task.state.terminal),
            offers=len(framework.offers),
            dominant_share=mine.dominant_share(total, state.exclude),
            registered_at=framework.registered_at,
            declined=framework.declined.counts(state.seconds),
            withdrawn=framework.withdrawn.counts(state.seconds),
            shapes=_unmet(framework),
            met=tuple(_met(framework)),
        )


def _unmet(framework: Framework) -> tuple[Shape, ...] | None:
    shapes = framework.demand.shapes
    if shapes is None:
        return None
    counted = ((shape, framework.missing(shape)) for shape in shapes[:MAX_SHAPES])
    return tuple(shape.model_copy(update={"count": count}) for shape, count in counted if count)


def _met(framework: Framework) -> Iterator[Shape]:
    for shape in (framework.demand.shapes or ())[:MAX_SHAPES]:
        if count := shape.count - framework.missing(shape):
            yield shape.model_copy(update={"count": count})


def _tasks(state: CellState, request: GetCell) -> Iterator[Task]:
    if request.task_id and request.task_id in state.tasks:
        every: Iterable[Task] = (state.tasks[request.task_id],)
    else:
        every = chain(state.tasks.values(), *(each.completed for each in state.frameworks.values()))
    for task in every:
        if request.task_id and task.task_id != request.task_id:
            continue
        if request.framework_id and task.framework_id != request.framework_id:
            continue
        if request.agent_id and task.agent_id != request.agent_id:
            continue
        yield task


def _task_view(state: CellState, task: Task, *, whole: bool) -> TaskView:
    """A task; ``whole``: with its history."""
    details = task.details
    history: tuple[TaskStep, ...] = ()
    truncated = False
    if whole:
        history, truncated = steps_until(details.created_at, details.history, details.status)
    return TaskView(
        task_id=task.task_id,
        cell=state.cell,
        framework_id=task.framework_id,
        agent_id=task.agent_id,
        role=task.role,
        name=details.name,
        resources=task.resources,
        state=task.state,
        status=details.status,
        created_at=details.created_at,
        history=history,
        history_truncated=truncated,
    )


def _offers(state: CellState, request: GetCell) -> Iterator[OpenOffer]:
    for offer in state.offers.values():
        if request.framework_id in ("", offer.framework.ident) and request.agent_id in ("", offer.agent.ident):
            yield offer


def _offer_view(state: CellState, offer: OpenOffer, now: Instant) -> OfferView:
    ends = offer.created_at + state.offers_last(offer.framework) if offer.until is None else offer.until
    return OfferView(
        offer_id=offer.offer_id,
        cell=state.cell,
        framework_id=offer.framework.ident,
        agent_id=offer.agent.ident,
        resources=offer.resources,
        age=max(0.0, now.mono - offer.created_at),
        role=offer.role,
        expires_in=max(0.0, ends - now.mono),
    )


def _roles(state: CellState) -> Iterator[RoleView]:
    total = cluster_total(state)
    # One pass over everything, since there may be as many roles as frameworks.
    members: Counter[str] = Counter()
    offered: defaultdict[str, list[Resources]] = defaultdict(list)
    mine: defaultdict[str, list[Resources]] = defaultdict(list)
    within: defaultdict[str, list[Resources]] = defaultdict(list)
    everywhere: defaultdict[str, list[Resources]] = defaultdict(list)
    settings = state.config.roles
    names = {*state.weights, *settings}
    for framework in state.frameworks.values():
        # It is a member of the roles of its tasks, too, when nothing of it waits there any more.
        own = {*framework.roles, *framework.held}
        names.update(own)
        if framework.state is not FrameworkStatus.TORN_DOWN:
            members.update(own)
        for role, amount in framework.held.items():
            mine[role].append(amount)
            for each in lineage(role):
                within[each].append(amount)
    for offer in state.offers.values():
        if not offer.revocable:
            offered[offer.role].append(offer.resources.counted())
    for (role, _), amount in held_in_cluster(state).items():
        for each in lineage(role):
            everywhere[each].append(amount)
    for role in sorted({each for name in names for each in lineage(name)}):
        promised = Resources.sum(offered[role])
        found = settings.get(role, NOTHING_SET)
        yield RoleView(
            role=role,
            cell=state.cell,
            weight=state.weights.get(role, 1.0),
            frameworks=members[role],
            allocated=Resources.sum(mine[role]) - promised,
            offered=promised,
            held=Resources.sum(within[role]),
            dominant_share=Resources.sum(everywhere[role]).dominant_share(total, state.exclude),
            guarantee=found.guarantee,
            limit=limit_text(found.limit),
            preempts=found.preempts,
        )
