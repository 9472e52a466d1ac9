"""Who competes in a cell, and what everybody holds of the cluster: what a round of allocation begins with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker_mesos.core.cell.allocation.policies.policy import Claimant
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.framework import Framework
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.records import FrameworkStatus


def claimants_of(state: CellState) -> list[Claimant]:
    """Everybody who may be sent offers, a claimant for each role of each framework."""
    count = max(1, len(state.frameworks))
    return [
        Claimant(role, framework.ident, (framework.order + state.cell) % count)
        for framework in sorted(state.wanting.values(), key=_order_of)
        for role in framework.info.roles
        if framework.wants_in(role)
    ]


def _order_of(framework: Framework) -> int:
    return framework.order


def cluster_total(state: CellState) -> Resources:
    """Of all registered agents of the cluster, as far as this cell has heard."""
    return state.total + state.foreign_total


def held_by_role(state: CellState) -> dict[str, Resources]:
    """Offered and used per role, without those below it, as far as this cell has heard."""
    held = {role: Resources.summed(amounts) for role, amounts in state.held_by_role.items()}
    for role, resources in state.foreign_roles.items():
        held[role] = held[role] + resources if role in held else resources
    return held


class HeldInCluster(Mapping[tuple[str, str], Resources]):
    """Offered and used per (role, framework), as far as this cell has heard: added up for those who are asked
    about, since a round may be about one of very many."""

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
    """Offered and used per (role, framework), as far as this cell has heard."""
    return dict(HeldInCluster(state))
