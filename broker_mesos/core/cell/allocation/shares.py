"""The input of a round of allocation: the claimants of a cell, and the resources that all frameworks of the cluster use
or are offered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker_mesos.core.cell.allocation.policies.policy import Claimant
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import FrameworkStatus


def claimants_of(state: CellState) -> list[Claimant]:
    """The claimants of a cell: one for each role of each framework that may be sent offers."""
    count = max(1, len(state.frameworks))
    return [
        Claimant(role, framework.ident, (framework.order + state.cell) % count)
        for framework in sorted(state.wanting.values(), key=_order_of)
        for role in framework.roles
        if framework.wants_in(role)
    ]


def _order_of(framework: Framework) -> int:
    return framework.order


def cluster_total(state: CellState) -> Resources:
    """Resources of all registered agents of the cluster, as far as this cell knows."""
    return state.total + state.foreign_total


def held_by_role(state: CellState) -> dict[str, Resources]:
    """Used and offered resources in the cluster by role, each without the roles below it, as far as this cell
    knows."""
    held = {role: Resources.summed(amounts) for role, amounts in state.held_by_role.items()}
    for role, resources in state.foreign_roles.items():
        held[role] = held[role] + resources if role in held else resources
    return held


class HeldInCluster(Mapping[tuple[str, str], Resources]):
    """Used and offered resources in the cluster by role and framework id, as far as this cell knows. Each sum is
    computed when it is read, since a round may need only one of very many."""

    __slots__ = ("_state",)

    def __init__(self, state: CellState) -> None:
        self._state = state

    def __getitem__(self, key: tuple[str, str]) -> Resources:
        framework = self._state.frameworks.get(key[1])
        mine = None if framework is None else framework.held.get(key[0])
        theirs = self._state.foreign_held.get(key)
        if theirs is None:
            if mine is None:
                raise KeyError(key)
            return mine
        return theirs if mine is None else theirs + mine

    def __iter__(self) -> Iterator[tuple[str, str]]:
        found = dict.fromkeys(self._state.foreign_held)
        for framework in self._state.frameworks.values():
            if framework.state is not FrameworkStatus.TORN_DOWN or framework.tasks:
                for role in framework.held:
                    found[role, framework.ident] = None
        return iter(found)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def held_in_cluster(state: CellState) -> dict[tuple[str, str], Resources]:
    """Used and offered resources in the cluster by role and framework id, as far as this cell knows."""
    return dict(HeldInCluster(state))
