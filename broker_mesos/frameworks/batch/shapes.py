"""What pending jobs ask of the cells: tasks of which shapes, and how many. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from broker_mesos.core.attributes import Constraint
from broker_mesos.core.infos import Shape
from broker_mesos.core.operator import JobSpec
from broker_mesos.core.resources import Resources
from broker_mesos.frameworks.batch.records import Work

MOST_JOBS = 50
"""Pending jobs whose shapes are stated; with more of them demand is for anything."""
MOST_SHAPES = 50
MOST_TASKS = 10_000_000
"""Of one shape."""
NEVER = float("inf")


class Kind(NamedTuple):
    """What tells the tasks of jobs apart for a cell."""

    resources: Resources
    constraints: tuple[Constraint, ...]


class Stated(NamedTuple):
    """Shapes of a demand, None for anything; and when they will be others by time alone."""

    shapes: tuple[Shape, ...] | None
    due: float = NEVER


def kind_of(spec: JobSpec) -> Kind:
    """The kind of a job's tasks."""
    return Kind(spec.resources, spec.constraints)


def state(jobs: Iterable[tuple[JobSpec, Work]], now: float) -> Stated:
    """What jobs ask for, in the order in which they are served. Too much is harmless: it is offered, and
    declined. Too little would starve."""
    counts: dict[Kind, int] = {}
    for spec, work in jobs:
        waiting = work.pending(spec.total)
        if waiting:
            kind = kind_of(spec)
            counts[kind] = counts.get(kind, 0) + waiting
    if len(counts) > MOST_SHAPES:
        return Stated(None)
    return Stated(
        tuple(
            Shape(resources=kind.resources, constraints=kind.constraints, count=min(count, MOST_TASKS))
            for kind, count in counts.items()
        )
    )
