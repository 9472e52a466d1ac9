"""The numbers of a cell for operators: what there is by state, and which tasks wait for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from broker_mesos.core.api.agent_rows import number
from broker_mesos.core.api.cells import CellLoad
from broker_mesos.core.api.overview import Amounts, CellOverview
from broker_mesos.core.api.waiting import UnmetShape
from broker_mesos.core.cell.allocation.feasibility import away, matches
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.cell.views.agent_index import state_name
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.roles import is_within, lineage

MAX_FRAMEWORKS = 1_000
"""The largest number of frameworks in an overview."""
MAX_UNMET = 50
"""The largest number of shapes in an overview: those of which the most tasks wait."""


def overview(
    state: CellState, owner: str, unmet: Iterable[UnmetShape] = (), load: CellLoad | None = None
) -> CellOverview:
    """The numbers of a cell, with the shapes that ``unmet_shapes`` has found."""
    frameworks = list(state.frameworks.values())
    return CellOverview(
        cell=state.cell,
        term=state.term,
        owner=owner,
        agents=dict(Counter(map(state_name, state.agents.values()))),
        tasks={each.short: count for each, count in Counter(task.state for task in state.tasks.values()).items()},
        frameworks={each.ident: each.state.value for each in frameworks[:MAX_FRAMEWORKS]},
        offers=len(state.offers),
        total=_amounts(state.total),
        used=_amounts(Resources.sum(each.used for each in frameworks)),
        offered=_amounts(Resources.sum(each.offered for each in frameworks)),
        unmet=tuple(unmet),
        load=load,
    )


def _amounts(resources: Resources) -> Amounts:
    return {name: number(amount) for name, amount in resources.quantities().items()}


def unmet_shapes(state: CellState) -> Iterator[UnmetShape]:
    """The shapes of which most tasks wait, each with what keeps it from running. The work for each of them may take a
    pass over all agents, so that the caller may pause between two."""
    found: list[tuple[int, Framework, Shape]] = []
    for framework in state.wanting.values():
        for shape in framework.demand.shapes or ():
            if count := framework.missing(shape):
                found.append((count, framework, shape))
    found.sort(key=lambda each: (-each[0], each[1].ident))
    obstacles = Obstacles(state)
    for count, framework, shape in found[:MAX_UNMET]:
        yield obstacles.of(framework.ident, shape.model_copy(update={"count": count}))


class Obstacles:
    """Finds what keeps tasks of a shape from running in a cell. The work for each shape may take a pass over all
    agents, so that the caller may pause between two."""

    def __init__(self, state: CellState) -> None:
        self._state = state
        self._agents = [each for each in state.agents.values() if away(each) is None]
        self._totals = {each.total for each in self._agents}
        self._names = {name for total in self._totals for name in total.names()}

    def of(self, framework_id: str, shape: Shape) -> UnmetShape:
        """What keeps tasks of a shape from running."""
        need = shape.resources
        absent = tuple(name for name in need.names() if name not in self._names)
        too_large = not absent and not any(total.contains(need) for total in self._totals)
        unmatched = (
            not (absent or too_large)
            and bool(shape.constraints)
            and not any(matches(shape.constraints, each) and each.total.contains(need) for each in self._agents)
        )
        return UnmetShape(
            framework_id=framework_id,
            shape=shape,
            absent=absent,
            too_large=too_large,
            unmatched=unmatched,
            limited=any(_is_limited(self._state, role, shape) for role in lineage(shape.role)),
        )


def _is_limited(state: CellState, role: str, shape: Shape) -> bool:
    """Whether the limit of a role leaves too little for one more task, by what all cells use as far as this one
    knows."""
    settings = state.config.roles.get(role)
    if settings is None or not settings.limit:
        return False
    here = [amounts for name, amounts in state.held_by_role.items() if is_within(name, role)]
    elsewhere = [amounts for name, amounts in state.foreign_roles.items() if is_within(name, role)]
    for name, limit in settings.limit.items():
        need = shape.resources.get(name)
        held = sum(each.get(name, 0) for each in here) + sum(each.get(name) for each in elsewhere)
        if need and held + need > limit:
            return True
    return False
