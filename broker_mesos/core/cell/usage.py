"""What a cell tells the others of itself, so that shares are of the whole cluster. Advisory: each cell
overshoots by at most one round while this travels."""

from __future__ import annotations

from pydantic import Field

from broker_mesos.core.cell.state import EMPTY, CellState
from broker_mesos.core.messages import Part
from broker_mesos.core.resources import Resources


class CellUsage(Part):
    """Totals in thousandths: sums over many agents may pass what the text form of resources allows."""

    total: dict[str, int] = Field(default_factory=dict)
    held: list[tuple[str, str, dict[str, int]]] = Field(default_factory=list)
    """(role, framework, offered and used)."""


def usage_of(state: CellState) -> bytes:
    """What this cell publishes."""
    held = [
        (role, framework.ident, resources.quantities())
        for framework in state.frameworks.values()
        for role, resources in framework.held.items()
        if resources
    ]
    return CellUsage(total=state.total.quantities(), held=held).model_dump_json().encode()


def take_in(state: CellState, published: dict[int, bytes]) -> None:
    """Take in what the cells have published; this cell's own word is not needed."""
    total = EMPTY
    held: dict[tuple[str, str], Resources] = {}
    for cell, body in published.items():
        if cell == state.cell:
            continue
        usage = CellUsage.model_validate_json(body)
        total += Resources.scalars_of(usage.total)
        for role, framework_id, amounts in usage.held:
            key = (role, framework_id)
            held[key] = held.get(key, EMPTY) + Resources.scalars_of(amounts)
    state.foreign_total = total
    state.foreign_held = held
