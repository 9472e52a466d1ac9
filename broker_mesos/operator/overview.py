"""Combines the overviews of cells, and counts the tasks that wait by the reason."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from broker_mesos.core.api.jobs import GetJobs, JobFilter, JobList
from broker_mesos.core.api.overview import (
    Amounts,
    CellOverview,
    GetCellOverview,
    Overview,
    OwnedCell,
)
from broker_mesos.core.api.state import MissingCell
from broker_mesos.core.api.waiting import (
    MAX_FRAMEWORKS,
    GetWaitingJobs,
    WaitingJobs,
    WaitingTasks,
    waiting_groups,
)
from broker_mesos.core.protocol.records import FrameworkStatus
from broker_mesos.errors import BrokerMesosError, Denied
from broker_mesos.frameworks.registry import JOBS
from broker_mesos.operator.calls import JOBS_FRAMEWORK, Calls

MAX_GROUPS = 20
"""Maximum number of reasons in an overview."""

_BEST = tuple(each.value for each in FrameworkStatus)


async def get_overview(calls: Calls, timeout: float) -> Overview:
    """The overview of the cluster within ``timeout`` seconds."""
    (found, missing), jobs, waiting = await asyncio.gather(
        calls.all_cells(GetCellOverview(), CellOverview, timeout), _jobs(calls, timeout), _waiting(calls, timeout)
    )
    return merge(found, missing, jobs, waiting)


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


async def _waiting(calls: Calls, timeout: float) -> WaitingJobs | None:
    """The jobs that wait, by the reason; None if the batch framework does not answer, or is of an earlier release."""
    try:
        return await calls.request(JOBS_FRAMEWORK, GetWaitingJobs(), WaitingJobs, timeout / 2)
    except Denied:
        raise
    except BrokerMesosError:
        return None


def merge(
    found: Sequence[CellOverview],
    missing: Iterable[MissingCell],
    jobs: dict[str, int] | None,
    waiting_jobs: WaitingJobs | None = None,
) -> Overview:
    """One overview of those of the cells that have answered."""
    states: dict[str, str] = {}
    for cell in found:
        for ident, state in cell.frameworks.items():
            # The best state that any cell knows, since a cell may not have received a message of it yet.
            states[ident] = min(state, states.get(ident, state), key=_rank)
    waiting = _waiting_tasks(found, waiting_jobs)
    return Overview(
        agents=_sum(cell.agents for cell in found),
        tasks=_sum(cell.tasks for cell in found),
        frameworks=dict(Counter(states.values())),
        offers=sum(cell.offers for cell in found),
        total=_amounts(cell.total for cell in found),
        used=_amounts(cell.used for cell in found),
        offered=_amounts(cell.offered for cell in found),
        waiting=tuple(waiting[:MAX_GROUPS]),
        waiting_tasks=sum(each.tasks for each in waiting),
        waiting_jobs=None if waiting_jobs is None else waiting_jobs.jobs,
        waiting_truncated=len(waiting) > MAX_GROUPS or (waiting_jobs is not None and waiting_jobs.truncated),
        jobs=jobs,
        loads=tuple(cell.load for cell in sorted(found, key=lambda each: each.cell) if cell.load is not None),
        cells=tuple(
            OwnedCell(cell=cell.cell, owner=cell.owner, term=cell.term)
            for cell in sorted(found, key=lambda each: each.cell)
        ),
        missing=tuple(sorted(missing, key=lambda each: each.cell)),
    )


def _waiting_tasks(found: Sequence[CellOverview], jobs: WaitingJobs | None) -> list[WaitingTasks]:
    """The tasks that wait, by the reason, the most first. The framework of the jobs counts its own: with many jobs its
    demand names no shapes."""
    if jobs is None:
        return list(waiting_groups([cell.unmet for cell in found]))
    others = waiting_groups([[each for each in cell.unmet if each.framework_id != JOBS.name] for cell in found])
    groups: dict[str, WaitingTasks] = {each.group: each for each in others}
    for each in jobs.groups:
        same = groups.get(each.group)
        names = dict.fromkeys((JOBS.name, *(same.frameworks if same else ())))
        tasks = each.tasks + (same.tasks if same else 0)
        groups[each.group] = each.model_copy(update={"tasks": tasks, "frameworks": tuple(names)[:MAX_FRAMEWORKS]})
    return sorted(groups.values(), key=lambda each: -each.tasks)


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
