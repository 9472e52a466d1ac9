"""What pending jobs ask of the cells: tasks of which shapes, and how many. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from broker_mesos.core.model.attributes import Constraint
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.locality import alternatives
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.part import MAX_SHORT
from broker_mesos.core.model.resources import Resources
from broker_mesos.frameworks.batch.storage.records import Work

MAX_JOBS = 50
"""Pending jobs whose shapes are stated; with more of them demand is for anything."""
MAX_SHAPES = 50
MAX_TASKS = 10_000_000
"""Of one shape."""
NEVER = float("inf")


class JobShape(NamedTuple):
    """What tells the tasks of jobs apart for a cell."""

    resources: Resources
    constraints: tuple[Constraint, ...]
    prefer: tuple[Constraint, ...] = ()
    """Where they wait for one: agents that match any of these."""
    revocable: bool = False
    """They run on slack, and nowhere else."""
    gang: str = ""
    """Id of the job whose tasks begin all at once."""

    def welcomes(self, offer: Offer) -> bool:
        """Whether an offer will do, if it is large enough."""
        attributes, hostname = offer.attributes, offer.hostname
        if self.revocable is not offer.revocable:
            return False
        if not all(each.matches(attributes, hostname) for each in self.constraints):
            return False
        return not self.prefer or any(each.matches(attributes, hostname) for each in self.prefer)

    def shapes(self, count: int) -> list[Shape]:
        """As shapes of a demand: several, if there are several ways to be preferred."""
        ways = [(each,) for each in alternatives(self.prefer)] if self.prefer else [()]
        return [
            Shape(
                resources=self.resources,
                constraints=(*self.constraints, *way),
                count=min(count, MAX_TASKS),
                gang=self.gang,
                revocable=self.revocable,
            )
            for way in ways
        ]


class Stated(NamedTuple):
    """Shapes of a demand, None for anything; and when they will be others by time alone."""

    shapes: tuple[Shape, ...] | None
    due: float = NEVER


def job_shape_of(job_id: str, spec: JobSpec, waits: bool) -> JobShape:
    """The kind of a job's tasks, while they wait for a preferred agent or not."""
    gang = job_id if spec.gang else ""
    return JobShape(spec.resources, spec.constraints, spec.prefer if waits else (), spec.revocable, gang)


def alone(kind: JobShape) -> str:
    """Name of the gang of one task as which the first task of a kind is stated where smaller ones wait, too;
    empty if it is none. It is the same for all jobs of the kind, so that any of them may use its offers."""
    if kind.gang or kind.prefer or kind.revocable:
        return ""
    return " ".join(["one task of", str(kind.resources), *map(str, kind.constraints)])


def _alone(kinds: Iterable[JobShape]) -> dict[JobShape, str]:
    """The kinds that need more of something than another one, by which they might be starved: every part of
    an agent that becomes free is enough for that one first."""
    kinds = list(kinds)
    least = {
        name: min(kind.resources.get(name) for kind in kinds)
        for name in {name for kind in kinds for name in kind.resources.scalars}
    }
    return {
        kind: name
        for kind in kinds
        if any(amount > least[resource] for resource, amount in kind.resources.scalars.items())
        and 0 < len(name := alone(kind)) <= MAX_SHORT
    }


def _shapes(kind: JobShape, count: int, name: str | None) -> list[Shape]:
    """``name``: of the gang as which one task of it is stated. That comes last: while others of its kind are
    served, it need not gather room."""
    if name is None:
        return kind.shapes(count)
    return [*(kind.shapes(count - 1) if count > 1 else ()), *kind._replace(gang=name).shapes(1)]


def state(jobs: Iterable[tuple[str, JobSpec, Work]], now: float) -> Stated:
    """What jobs ask for, in the order in which they are served. Too much is harmless: it is offered, and
    declined. Too little would starve."""
    counts: dict[JobShape, int] = {}
    due = NEVER
    for job_id, spec, work in jobs:
        waiting = work.claimable(spec.total, spec.max_running)
        if waiting:
            until = work.waits_until(spec, now)
            due = min(due, until or NEVER)
            kind = job_shape_of(job_id, spec, bool(until))
            counts[kind] = counts.get(kind, 0) + waiting
    names = _alone(counts)
    shapes = tuple(shape for kind, count in counts.items() for shape in _shapes(kind, count, names.get(kind)))
    if len(shapes) > MAX_SHAPES:
        shapes = tuple(shape for kind, count in counts.items() for shape in kind.shapes(count))
    return Stated(shapes, due) if len(shapes) <= MAX_SHAPES else Stated(None)
