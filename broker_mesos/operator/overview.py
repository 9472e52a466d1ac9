"""Combines the overviews of cells, and counts the tasks that wait by the reason."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from broker_mesos.core.api.jobs import GetJobs, JobFilter, JobList
from broker_mesos.core.api.overview import (
    Amounts,
    CellOverview,
    GetCellOverview,
    Overview,
    OwnedCell,
    UnmetShape,
    WaitingTasks,
)
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.protocol.records import FrameworkStatus
from broker_mesos.errors import BrokerMesosError, Denied
from broker_mesos.operator.calls import JOBS_FRAMEWORK, Calls

MAX_GROUPS = 20
"""Maximum number of reasons in an overview."""
MAX_FRAMEWORKS = 10
"""Maximum number of frameworks that one reason names."""

_BEST = tuple(each.value for each in FrameworkStatus)


async def get_overview(calls: Calls, timeout: float) -> Overview:
    """The overview of the cluster within ``timeout`` seconds."""
    (found, missing), jobs = await asyncio.gather(
        calls.all_cells(GetCellOverview(), CellOverview, timeout), _jobs(calls, timeout)
    )
    return merge(found, missing, jobs)


async def _jobs(calls: Calls, timeout: float) -> dict[str, int] | None:
    """The number of jobs; None if the batch framework does not answer."""
    kinds: tuple[JobFilter, JobFilter] = JobFilter(kind="active"), JobFilter(kind="all")
    try:
        active, every = await asyncio.gather(
            *(
                calls.request(JOBS_FRAMEWORK, GetJobs(limit=1, which=kind, explain=False), JobList, timeout / 2)
                for kind in kinds
            )
        )
    except Denied:
        raise
    except BrokerMesosError:
        return None
    return {"active": active.total, "all": every.total}


def merge(found: Sequence[CellOverview], missing: Iterable[MissingCell], jobs: dict[str, int] | None) -> Overview:
    """One overview of those of the cells that have answered."""
    states: dict[str, str] = {}
    for cell in found:
        for ident, state in cell.frameworks.items():
            # The best state that any cell knows, since a cell may not have received a message of it yet.
            states[ident] = min(state, states.get(ident, state), key=_rank)
    waiting = waiting_groups([cell.unmet for cell in found])
    return Overview(
        agents=_sum(cell.agents for cell in found),
        tasks=_sum(cell.tasks for cell in found),
        frameworks=dict(Counter(states.values())),
        offers=sum(cell.offers for cell in found),
        total=_amounts(cell.total for cell in found),
        used=_amounts(cell.used for cell in found),
        offered=_amounts(cell.offered for cell in found),
        waiting=waiting[:MAX_GROUPS],
        waiting_tasks=sum(each.tasks for each in waiting),
        jobs=jobs,
        loads=tuple(cell.load for cell in sorted(found, key=lambda each: each.cell) if cell.load is not None),
        cells=tuple(
            OwnedCell(cell=cell.cell, owner=cell.owner, term=cell.term)
            for cell in sorted(found, key=lambda each: each.cell)
        ),
        missing=tuple(sorted(missing, key=lambda each: each.cell)),
    )


def waiting_groups(cells: Sequence[Sequence[UnmetShape]]) -> tuple[WaitingTasks, ...]:
    """The tasks that wait, by the reason, the most first. Every cell sees the whole demand of a framework: of a shape
    so many tasks wait as wait in each cell, and a cause counts only if it does in each."""
    shapes: defaultdict[object, list[UnmetShape]] = defaultdict(list)
    for unmet in cells:
        for each in unmet:
            shapes[each.framework_id, each.shape.key].append(each)
    tasks: Counter[str] = Counter()
    frameworks: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for same in shapes.values():
        if len(same) < len(cells):
            continue  # a cell has offered something for each of these tasks
        group = _group(same)
        tasks[group] += min(each.shape.count for each in same)
        frameworks[group][same[0].framework_id] = None
    return tuple(
        WaitingTasks(group=group, tasks=count, frameworks=tuple(frameworks[group])[:MAX_FRAMEWORKS])
        for group, count in tasks.most_common()
    )


def _group(same: Sequence[UnmetShape]) -> str:
    absent = set.intersection(*(set(each.absent) for each in same))
    if absent:
        return f"no {min(absent)}"
    if any(each.limited for each in same):
        return f"quota {same[0].shape.role}"
    if all(each.absent or each.too_large for each in same):
        return "too large"
    if all(each.absent or each.too_large or each.unmatched for each in same):
        return "constraints"
    return "resources in use"


def _rank(state: str) -> int:
    return _BEST.index(state) if state in _BEST else len(_BEST)


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _amounts(amounts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for each in amounts:
        for name, amount in each.items():
            total[name] = round(total.get(name, 0) + amount, 3)
    return total
