"""A point of the history of the cluster, as one cell knows it."""

from __future__ import annotations

from broker_mesos.core.api.agent_rows import number
from broker_mesos.core.api.cells import GetCell
from broker_mesos.core.api.history import MAX_ROLES, HistoryPoint
from broker_mesos.core.cell.state.cell_state import CellState
from broker_mesos.core.cell.views.views import view
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.protocol.limits import Instant


def point(state: CellState, now: Instant) -> HistoryPoint:
    """The sums and shares of the whole cluster: those of this cell, and what the others have published."""
    roles = view(state, "", GetCell(parts=("roles",)), now).roles
    largest = sorted(roles, key=lambda each: (-each.dominant_share, each.role))[:MAX_ROLES]
    here = [framework.held.values() for framework in state.frameworks.values()]
    used = Resources.sum(amount for held in (*here, state.foreign_held.values()) for amount in held)
    total = state.total + state.foreign_total
    counts = state.foreign_counts
    return HistoryPoint(
        agents=len(state.agents) + counts.get("agents", 0),
        tasks=len(state.tasks) + counts.get("tasks", 0),
        total={name: number(amount) for name, amount in total.quantities().items()},
        used={name: number(amount) for name, amount in used.quantities().items()},
        roles={each.role: round(each.dominant_share, 4) for each in largest},
    )
