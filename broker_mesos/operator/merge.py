"""Combines the views of cells into one view of the cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, islice
from typing import TypeVar

from broker_mesos.core.api.cells import CellPart, CellView, FrameworkView
from broker_mesos.core.api.paging import SortKey, encode
from broker_mesos.core.api.roles import RoleView
from broker_mesos.core.api.state import FrameworkTotal, GetState, MissingCell, RoleTotal, StateView
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import FrameworkStatus

E = TypeVar("E")

MAX_SHAPES = 100
"""The largest number of shapes of a framework's demand in a view."""
MAX_REASONS = 16
"""The largest number of reasons of ended offers."""

# A framework's state is the best one that any cell reports, since a cell may not have received a message of it yet.
_STATES = (FrameworkStatus.SUBSCRIBED, FrameworkStatus.DISCONNECTED, FrameworkStatus.TORN_DOWN)


def merge(views: Sequence[CellView], missing: Iterable[MissingCell], request: GetState) -> StateView:
    """Combine the views of all cells that answered: of each part the first ``request.limit`` entries in its order."""
    counts: dict[str, int] = {}
    for view in views:
        for name, size in view.counts.items():
            # Every cell knows every framework; all other entries belong to one cell.
            counts[name] = max(counts.get(name, 0), size) if name == "frameworks" else counts.get(name, 0) + size
    truncated: list[CellPart] = []
    ends: list[str] = []

    def page(part: CellPart, entries: Callable[[CellView], Sequence[E]], key: Callable[[E], SortKey]) -> list[E]:
        """The entries that are certain: if the list of a cell was truncated, nothing is known of it behind its last
        entry."""
        cut = [key(entries(view)[-1]) for view in views if part in view.truncated and entries(view)]
        horizon = min(cut, default=None)
        found = sorted((each for view in views for each in entries(view)), key=key)
        certain = [each for each in found if horizon is None or key(each) <= horizon]
        shown = _first(certain, request.limit, key)
        if len(shown) < len(found) or horizon is not None:
            truncated.append(part)
            ends.append(encode(part, key(shown[-1])) if shown else "")
        return shown

    agents = page("agents", lambda view: view.agents, lambda each: (each.hostname, each.agent_id))
    frameworks = page("frameworks", lambda view: view.frameworks, lambda each: (each.framework_id,))
    tasks = page("tasks", lambda view: view.tasks, lambda each: (each.state.terminal, -each.created_at, each.task_id))
    offers = page("offers", lambda view: view.offers, lambda each: (each.cell, each.offer_id))
    roles = sorted((role for view in views for role in view.roles), key=lambda each: each.role)
    return StateView(
        agents=tuple(agents),
        frameworks=tuple(_framework(list(same)) for _, same in groupby(frameworks, lambda each: each.framework_id)),
        tasks=tuple(tasks),
        offers=tuple(offers),
        roles=tuple(_role(list(same)) for _, same in groupby(roles, lambda each: each.role)),
        counts=counts,
        loads=tuple(sorted((view.load for view in views if view.load is not None), key=lambda each: each.cell)),
        missing=tuple(sorted(missing, key=lambda each: each.cell)),
        truncated=tuple(truncated),
        after=ends[0] if len(request.parts) == 1 and ends else "",
    )


def _first(entries: Sequence[E], limit: int, key: Callable[[E], SortKey]) -> list[E]:
    """The entries of the first ``limit`` keys. Every cell has an entry for a framework, all of them under one key."""
    shown: list[E] = []
    for _, same in islice(groupby(entries, key), limit):
        shown += same
    return shown


def _framework(views: Sequence[FrameworkView]) -> FrameworkTotal:
    first = views[0]
    shapes = unmet_shapes(views)
    return FrameworkTotal(
        framework_id=first.framework_id,
        name=first.name,
        roles=tuple(dict.fromkeys(role for view in views for role in view.roles)),
        state=min((view.state for view in views), key=_STATES.index),
        wanted=any(view.wanted for view in views),
        allocated=_total(view.allocated for view in views),
        offered=_total(view.offered for view in views),
        tasks=sum(view.tasks for view in views),
        offers=sum(view.offers for view in views),
        dominant_share=max(view.dominant_share for view in views),
        registered_at=min(view.registered_at for view in views),
        declined=_most(view.declined for view in views),
        withdrawn=_most(view.withdrawn for view in views),
        shapes=None if shapes is None else tuple(shapes[:MAX_SHAPES]),
        shapes_truncated=shapes is not None and len(shapes) >= MAX_SHAPES,
    )


def unmet_shapes(views: Sequence[FrameworkView]) -> list[Shape] | None:
    """The part of a framework's demand that no cell has met; None if it has stated none. Every cell knows the whole
    demand, of which each meets a part."""
    if all(view.shapes is None for view in views):
        return None
    demanded: dict[object, Shape] = {}
    met: Counter[object] = Counter()
    for view in views:
        every = (*(view.shapes or ()), *view.met)
        here: Counter[object] = Counter()
        for shape in every:
            here[shape.key] += shape.count
        met.update({each.key: each.count for each in view.met})
        for shape in every:
            key = shape.key
            if key not in demanded or demanded[key].count < here[key]:
                demanded[key] = shape.model_copy(update={"count": here[key]})
    rest = ((shape, shape.count - met[key]) for key, shape in demanded.items())
    return [shape.model_copy(update={"count": count}) for shape, count in rest if count > 0]


def _most(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """The sums of counts by reason, the most first."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total.most_common(MAX_REASONS))


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
    # Two agents may both have port 31000: ranges and sets can only be added as numbers.
    return Resources.sum(each.counted() for each in amounts)
