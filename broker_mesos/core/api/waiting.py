"""Operator requests for what tasks wait for, and the reasons by which they are counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from pydantic import Field

from broker_mesos.core.api.jobs import JobRequest
from broker_mesos.core.api.request import Request, Right, Route
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.part import Ident, Part
from broker_mesos.core.protocol.wire import register

AFTER_OTHERS = "other jobs"
"""The group of jobs that run after jobs which have not ended."""
MAX_REQUESTED = 50
"""The largest number of shapes in one request."""
MAX_FRAMEWORKS = 10
"""The largest number of frameworks that one reason names."""


class UnmetShape(Part):
    """Tasks of one shape that a framework wants to run, as one cell sees them."""

    framework_id: str
    shape: Shape
    """Its ``count`` is the number of tasks for which this cell has offered nothing."""
    absent: tuple[str, ...] = ()
    """Resources that no agent of the cell has at all."""
    too_large: bool = False
    """Whether no agent of the cell has room for one task even when nothing else runs there."""
    unmatched: bool = False
    """Whether no agent of the cell that is large enough satisfies the constraints."""
    limited: bool = False
    """Whether the limit of its role is what the cell waits for."""


class UnmetShapes(Part):
    """What tasks of some shapes wait for in one cell."""

    shapes: tuple[UnmetShape, ...]


@register
class GetUnmetShapes(Request):
    """Get what tasks of these shapes wait for in a cell, in the order of the shapes."""

    TYPE = "GET_UNMET_SHAPES"
    RIGHT = Right.VIEW
    ANSWER = UnmetShapes
    ROUTE = Route.CELLS
    framework_id: Ident
    shapes: tuple[Shape, ...] = Field(max_length=MAX_REQUESTED)


class WaitingTasks(Part):
    """Tasks that wait for one and the same reason."""

    group: str
    """The reason: ``no NAME`` if no agent has this resource, ``too large``, ``constraints``, ``quota ROLE``,
    ``other jobs`` that must end before, or ``resources in use``."""
    tasks: int
    jobs: int = 0
    """Number of jobs that these tasks are of; other frameworks than that of the jobs have none."""
    frameworks: tuple[str, ...] = ()


class WaitingJobs(Part):
    """The jobs with tasks that wait, by the reason."""

    groups: tuple[WaitingTasks, ...] = ()
    """The most tasks first."""
    jobs: int = 0
    tasks: int = 0
    truncated: bool = False
    """Whether there are more jobs than were counted, or some of them have so rare a shape that their reason is not
    known."""


@register
class GetWaitingJobs(JobRequest):
    """Get the number of jobs and tasks that wait, by the reason. The answer may be some seconds old."""

    TYPE = "GET_WAITING_JOBS"
    RIGHT = Right.VIEW
    ANSWER = WaitingJobs


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
        group = group_of(same)
        tasks[group] += min(each.shape.count for each in same)
        frameworks[group][same[0].framework_id] = None
    return tuple(
        WaitingTasks(group=group, tasks=count, frameworks=tuple(frameworks[group])[:MAX_FRAMEWORKS])
        for group, count in tasks.most_common()
    )


def group_of(same: Sequence[UnmetShape]) -> str:
    """The reason why tasks of a shape wait, by what each cell has found."""
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
