"""Views of cells, put together into one of the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from broker_mesos.core.api.cells import CellView, FrameworkView
from broker_mesos.core.api.roles import RoleView
from broker_mesos.core.api.state import FrameworkTotal, MissingCell, RoleTotal, StateView
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import FrameworkStatus

# A framework is in the best state that any cell has it in: a cell may not have met it yet.
_STATES = (FrameworkStatus.SUBSCRIBED, FrameworkStatus.DISCONNECTED, FrameworkStatus.TORN_DOWN)


def merge(views: Sequence[CellView], missing: Iterable[MissingCell]) -> StateView:
    """One view of all cells that answered."""
    frameworks: dict[str, list[FrameworkView]] = {}
    roles: dict[str, list[RoleView]] = {}
    counts: dict[str, int] = {}
    for view in views:
        for framework in view.frameworks:
            frameworks.setdefault(framework.framework_id, []).append(framework)
        for role in view.roles:
            roles.setdefault(role.role, []).append(role)
        for name, size in view.counts.items():
            # Every cell knows every framework; of the rest each has its own.
            counts[name] = max(counts.get(name, 0), size) if name == "frameworks" else counts.get(name, 0) + size
    return StateView(
        agents=tuple(
            sorted(
                (agent for view in views for agent in view.agents),
                key=lambda each: (each.hostname, each.agent_id),
            )
        ),
        frameworks=tuple(_framework(frameworks[name]) for name in sorted(frameworks)),
        tasks=tuple(
            sorted(
                (task for view in views for task in view.tasks),
                key=lambda each: (each.state.terminal, -each.created_at, each.task_id),
            )
        ),
        offers=tuple(
            sorted(
                (offer for view in views for offer in view.offers),
                key=lambda each: (each.cell, each.offer_id),
            )
        ),
        roles=tuple(_role(roles[name]) for name in sorted(roles)),
        counts=counts,
        loads=tuple(sorted((view.load for view in views if view.load is not None), key=lambda each: each.cell)),
        missing=tuple(sorted(missing, key=lambda each: each.cell)),
    )


def _framework(views: Sequence[FrameworkView]) -> FrameworkTotal:
    first = views[0]
    return FrameworkTotal(
        framework_id=first.framework_id,
        name=first.name,
        roles=first.roles,
        state=min((view.state for view in views), key=_STATES.index),
        wanted=any(view.wanted for view in views),
        allocated=_total(view.allocated for view in views),
        offered=_total(view.offered for view in views),
        tasks=sum(view.tasks for view in views),
        offers=sum(view.offers for view in views),
        dominant_share=max(view.dominant_share for view in views),
        registered_at=min(view.registered_at for view in views),
    )


def _role(views: Sequence[RoleView]) -> RoleTotal:
    return RoleTotal(
        role=views[0].role,
        weight=views[0].weight,
        frameworks=max(view.frameworks for view in views),
        allocated=_total(view.allocated for view in views),
        offered=_total(view.offered for view in views),
        held=_total(view.held for view in views),
        dominant_share=max(view.dominant_share for view in views),
        guarantee=views[0].guarantee,
        limit=views[0].limit,
        preempts=views[0].preempts,
    )


def _total(amounts: Iterable[Resources]) -> Resources:
    # Two agents may both have port 31000: ranges and sets add up only as numbers.
    return Resources.sum(each.counted() for each in amounts)
