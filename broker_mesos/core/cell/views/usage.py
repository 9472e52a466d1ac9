"""The usage of a cell, which is published to the other cells so that shares are computed of the whole cluster. It is
advisory: each cell exceeds the right shares by at most one round while the usage is on its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from broker_mesos.core.api.roles import CellUsage
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.state.reserved_portions import EMPTY
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.quota.config_changes import RoleUsage


def report_usage(state: CellState) -> CellUsage:
    """The current usage of this cell."""
    held = [
        (role, framework.ident, resources.quantities())
        for framework in state.frameworks.values()
        for role, resources in framework.held.items()
        if resources
    ]
    counts = {"agents": len(state.agents), "tasks": len(state.tasks)}
    return CellUsage(total=state.total.quantities(), held=held, counts=counts)


def usage_of(state: CellState) -> bytes:
    """The usage of this cell as JSON, for publication."""
    return report_usage(state).model_dump_json().encode()


@lru_cache(maxsize=256)
def _read(body: bytes) -> tuple[Resources, dict[tuple[str, str], Resources], dict[str, int]]:
    """Decode the usage of a cell. The result is cached, since every cell of a master decodes the same usage."""
    usage = CellUsage.model_validate_json(body)
    holders: dict[tuple[str, str], Resources] = {}
    for role, framework_id, amounts in usage.held:
        holders[role, framework_id] = Resources.scalars_of(amounts)
    return Resources.scalars_of(usage.total), holders, usage.counts


def found_in(published: Mapping[int, bytes]) -> RoleUsage:
    """The usage of the cluster from what all cells have published."""
    total = EMPTY
    held: dict[str, list[Resources]] = {}
    for body in published.values():
        try:
            theirs, holders, _ = _read(body)
        except ValueError:
            continue
        total += theirs
        for (role, _), amounts in holders.items():
            held.setdefault(role, []).append(amounts)
    return RoleUsage(total, {role: Resources.sum(amounts) for role, amounts in held.items()})


def take_in(state: CellState, published: dict[int, bytes]) -> None:
    """Apply the usage that the other cells have published; the usage of this cell itself is ignored."""
    total = EMPTY
    held: dict[tuple[str, str], Resources] = {}
    counts: Counter[str] = Counter()
    for cell, body in published.items():
        if cell == state.cell:
            continue
        try:
            theirs, holders, numbers = _read(body)
        except ValueError:
            continue  # usage that cannot be decoded, such as sums beyond the bounds, is ignored
        total += theirs
        counts.update(numbers)
        for key, amounts in holders.items():
            held[key] = held.get(key, EMPTY) + amounts
    state.foreign_total = total
    state.foreign_held = held
    state.foreign_counts = dict(counts)
